//! By what a load pod knows its caller: any pod may reach its port, and a run sends requests wherever it is told.

/// Environment variable of the load pod with the token that its `POST /run` wants.
pub const TOKEN_ENV: &str = "MSARS_RUN_TOKEN";

/// A secret that a pod of ours and its caller share.
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
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then_some(Self(text))
    }

    /// The secret itself, for who has to bring or to compare it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_and_never_empty() {
        let token = Token::new("t0ken").unwrap();
        assert_eq!(token.reveal(), "t0ken");
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        assert_eq!(Token::new(""), None);
    }
}
