//! Whether a copy did what it was asked. Pure.

use msars_api::annotations::PROFILE_REQUEST;
use msars_domain::load::Outcomes;

/// What is wrong with requests that are mostly refused by their status, which costs less than what users ask for.
pub fn turned_away(outcomes: &Outcomes) -> Option<String> {
    let refused = outcomes.client_error;
    let taken = outcomes.success + outcomes.redirect;
    (refused > taken).then(|| {
        format!(
            "the copy answered {refused} requests of {PROFILE_REQUEST} with a status of 400 to 499 and {taken} with a lower one"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_refuses_what_it_is_asked_is_not_measured() {
        let outcomes = |success, redirect, client_error, server_error| Outcomes {
            success,
            redirect,
            client_error,
            server_error,
            ..Outcomes::default()
        };
        for (found, refuses) in [
            (outcomes(90, 0, 10, 0), false),
            (outcomes(0, 90, 10, 0), false),
            (outcomes(50, 0, 50, 0), false),
            (outcomes(10, 0, 90, 0), true),
            (outcomes(0, 0, 1, 0), true),
            // An overload: told as errors, at their rate.
            (outcomes(0, 0, 0, 100), false),
            (outcomes(0, 0, 0, 0), false),
        ] {
            assert_eq!(turned_away(&found).is_some(), refuses, "{found:?}");
        }
    }
}
