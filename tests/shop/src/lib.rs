//! The shop: fourteen roles in one program.
