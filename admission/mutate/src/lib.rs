//! Admission review to verdict and ordered JSON patch.
