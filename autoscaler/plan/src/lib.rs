//! Decide: forecast, policy, shield.
