//! The weighted requests of `msars.io/profile-request`: what to replay against a copy of a workload.
//!
//! ```text
//! GET /catalogue?size=5; 0.2 POST /cart {"id": 1}
//! ```
//!
//! Entries are separated by `;`. An entry is an optional weight (default 1), a method, a path and an optional body
//! that runs to the next separator. A body that starts with `{`, `[` or `"` is one JSON value, so a `;` inside it
//! belongs to it; any other body is plain text without `;`. A `;` in a path is written `%3B`. Empty entries at the
//! end are ignored.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most entries a list may have; each becomes a class of results.
pub const MAX_REQUESTS: usize = 32;

/// First characters of a body that is read as JSON.
const JSON_STARTS: [char; 3] = ['{', '[', '"'];

/// The methods a profile may send.
const METHODS: &[Method] = &[
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Patch,
    Method::Delete,
    Method::Options,
];

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// How often it occurs against the others; finite and above zero.
    pub weight: f64,
    /// Its method.
    pub method: Method,
    /// Path and query as sent: starts with `/`, printable ASCII without space " ; # < > and backtick.
    pub path: String,
    /// Body as sent.
    pub body: Option<String>,
}

/// A checked, non-empty list of requests. Serialized as the annotation's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestMix {
    requests: Vec<Request>,
}

/// Why a text is no list of requests. `at` counts characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// Nothing but separators and spaces.
    #[error(
        "no request found; expected for example `GET /catalogue?size=5; 0.2 POST /cart {{\"id\": 1}}`"
    )]
    Empty,
    /// Two separators with nothing between them.
    #[error("character {at}: nothing before `;`, expected `[weight] METHOD /path [body]`")]
    EmptyEntry {
        /// Position of the separator.
        at: usize,
    },
    /// A weight that is zero, negative or no number.
    #[error("character {at}: weight `{found}`, expected a number above 0 such as `0.2`")]
    Weight {
        /// Position of the weight.
        at: usize,
        /// The word found.
        found: String,
    },
    /// A word that is no known method.
    #[error(
        "character {at}: method `{found}`, expected one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS in capitals"
    )]
    Method {
        /// Position of the method.
        at: usize,
        /// The word found; empty at the end of an entry.
        found: String,
    },
    /// A path that does not start with `/` or holds a character that can't be sent.
    #[error(
        "character {at}: path `{found}`, expected `/` and printable ASCII without \" # < > and backtick (write `;` as `%3B`)"
    )]
    Path {
        /// Position of the path.
        at: usize,
        /// The word found; empty at the end of an entry.
        found: String,
    },
    /// A body that starts like JSON and is none.
    #[error(
        "character {at}: body is no JSON ({found}), expected one JSON value or plain text without `;`"
    )]
    Body {
        /// Position of the body.
        at: usize,
        /// What the JSON parser found.
        found: String,
    },
    /// Something between a JSON body and the separator.
    #[error("character {at}: `{found}` after the JSON body, expected `;` or the end")]
    AfterBody {
        /// Position of the first character that does not belong there.
        at: usize,
        /// What was found.
        found: String,
    },
    /// More entries than are measured apart.
    #[error("{found} requests, expected at most {MAX_REQUESTS}")]
    TooMany {
        /// How many there were.
        found: usize,
    },
    /// A list built in code whose text would read as something else, such as a plain body with `;`.
    #[error("request {index} reads back as something else: `{found}`")]
    Ambiguous {
        /// Position in the list, from 0.
        index: usize,
        /// Its text.
        found: String,
    },
}

impl MixError {
    /// A bounded label for metrics and events.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Empty => "NoRequest",
            Self::EmptyEntry { .. } => "EmptyRequest",
            Self::Weight { .. } => "BadWeight",
            Self::Method { .. } => "BadMethod",
            Self::Path { .. } => "BadPath",
            Self::Body { .. } | Self::AfterBody { .. } => "BadBody",
            Self::TooMany { .. } => "TooManyRequests",
            Self::Ambiguous { .. } => "AmbiguousRequest",
        }
    }
}

impl Method {
    /// The method as sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl Request {
    /// The class its results are counted under: method and path, `POST /cart`.
    pub fn class(&self) -> String {
        format!("{} {}", self.method.as_str(), self.path)
    }

    /// Whether the body is JSON by its first character, which decides the content type sent.
    pub fn has_json_body(&self) -> bool {
        self.body
            .as_deref()
            .is_some_and(|body| body.starts_with(JSON_STARTS))
    }
}

impl RequestMix {
    /// Checks a list built in code: each request must read back from its own text as itself.
    pub fn new(requests: Vec<Request>) -> Result<Self, MixError> {
        if requests.is_empty() {
            return Err(MixError::Empty);
        }
        if requests.len() > MAX_REQUESTS {
            return Err(MixError::TooMany {
                found: requests.len(),
            });
        }
        for (index, request) in requests.iter().enumerate() {
            let text = request.to_string();
            let back = text.parse::<Self>()?;
            if back.requests.as_slice() != std::slice::from_ref(request) {
                return Err(MixError::Ambiguous { index, found: text });
            }
        }
        Ok(Self { requests })
    }

    /// The requests, at least one, in the order written.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Each request's share of all, in order; the shares add up to 1.
    pub fn shares(&self) -> Vec<f64> {
        let total: f64 = self.requests.iter().map(|r| r.weight).sum();
        self.requests.iter().map(|r| r.weight / total).collect()
    }
}

/// A place in the text.
struct Cursor<'a> {
    text: &'a str,
    byte: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.byte..]
    }

    /// The position for messages: characters from 1.
    fn at(&self) -> usize {
        self.text[..self.byte].chars().count() + 1
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.byte += rest.len() - rest.trim_start().len();
    }

    /// The next word: up to a space, a separator or the end. Does not move.
    fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || c == ';');
        &rest[..end.unwrap_or(rest.len())]
    }

    fn weight(&mut self) -> Result<f64, MixError> {
        let word = self.word();
        if !word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
            return Ok(1.0);
        }
        let weight = word
            .parse::<f64>()
            .ok()
            .filter(|w| w.is_finite() && *w > 0.0)
            .ok_or_else(|| MixError::Weight {
                at: self.at(),
                found: word.to_owned(),
            })?;
        self.byte += word.len();
        self.skip_space();
        Ok(weight)
    }

    fn method(&mut self) -> Result<Method, MixError> {
        let word = self.word();
        let found = METHODS.iter().find(|m| m.as_str() == word);
        let method = *found.ok_or_else(|| MixError::Method {
            at: self.at(),
            found: word.to_owned(),
        })?;
        self.byte += word.len();
        self.skip_space();
        Ok(method)
    }

    fn path(&mut self) -> Result<String, MixError> {
        let word = self.word();
        if !word.starts_with('/')
            || !word
                .chars()
                .all(|c| c.is_ascii_graphic() && !"\"#<>`".contains(c))
        {
            return Err(MixError::Path {
                at: self.at(),
                found: word.to_owned(),
            });
        }
        self.byte += word.len();
        self.skip_space();
        Ok(word.to_owned())
    }

    /// The body; leaves the cursor on the separator or at the end.
    fn body(&mut self) -> Result<Option<String>, MixError> {
        let rest = self.rest();
        if !rest.starts_with(JSON_STARTS) {
            let body = &rest[..rest.find(';').unwrap_or(rest.len())];
            self.byte += body.len();
            let body = body.trim_end();
            return Ok((!body.is_empty()).then(|| body.to_owned()));
        }
        let mut values =
            serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
        if let Some(Err(error)) = values.next() {
            return Err(MixError::Body {
                at: self.at(),
                found: error.to_string(),
            });
        }
        let body = rest[..values.byte_offset()].to_owned();
        self.byte += body.len();
        self.skip_space();
        if !self.rest().is_empty() && !self.rest().starts_with(';') {
            return Err(MixError::AfterBody {
                at: self.at(),
                found: self.rest().chars().take(20).collect(),
            });
        }
        Ok(Some(body))
    }
}

impl FromStr for RequestMix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut cursor = Cursor { text, byte: 0 };
        let mut requests = Vec::new();
        loop {
            cursor.skip_space();
            if cursor.rest().chars().all(|c| c == ';' || c.is_whitespace()) {
                break;
            }
            if cursor.rest().starts_with(';') {
                return Err(MixError::EmptyEntry { at: cursor.at() });
            }
            requests.push(Request {
                weight: cursor.weight()?,
                method: cursor.method()?,
                path: cursor.path()?,
                body: cursor.body()?,
            });
            cursor.byte += usize::from(cursor.rest().starts_with(';'));
        }
        match requests.len() {
            0 => Err(MixError::Empty),
            found if found > MAX_REQUESTS => Err(MixError::TooMany { found }),
            _ => Ok(Self { requests }),
        }
    }
}

impl TryFrom<String> for RequestMix {
    type Error = MixError;

    fn try_from(text: String) -> Result<Self, MixError> {
        text.parse()
    }
}

impl From<RequestMix> for String {
    fn from(mix: RequestMix) -> Self {
        mix.to_string()
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weight.to_bits() != 1.0_f64.to_bits() {
            write!(f, "{} ", self.weight)?;
        }
        write!(f, "{} {}", self.method.as_str(), self.path)?;
        match &self.body {
            Some(body) => write!(f, " {body}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RequestMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, request) in self.requests.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{request}")?;
        }
        Ok(())
    }
}
