//! What a caller of the server has to bring: any pod may reach its port, and a run sends requests wherever it is told.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The secret without which nothing is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A secret never reaches a log.
        f.write_str("Token(hidden)")
    }
}

impl Token {
    /// A token of this text; `None` for an empty one, which everybody could bring.
    pub fn new(text: String) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// Whether a request has it as its bearer token.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .is_some_and(|brought| brought == self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_and_never_empty() {
        let token = Token::new("t0ken".to_owned()).unwrap();
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        assert_eq!(Token::new(String::new()), None);
    }
}
