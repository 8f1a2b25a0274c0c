//! The only place that reads the clock. Everything else takes `now` as an argument.

/// The wall clock, UTC.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place that may read the clock"
)]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[cfg(test)]
mod tests {
    #[test]
    fn never_goes_back_between_two_reads_by_more_than_a_second() {
        let first = super::now();
        let second = super::now();
        assert!(second.duration_since(first).as_secs() >= -1);
    }
}
