//! The annotation's text: what is accepted, what is refused and how, and that text and list are one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]

use msars_domain::{Method, MixError, Request, RequestMix};
use proptest::prelude::*;

fn request(weight: f64, method: Method, path: &str, body: Option<&str>) -> Request {
    Request {
        weight,
        method,
        path: path.to_owned(),
        body: body.map(str::to_owned),
    }
}

#[test]
fn accepted_forms() {
    use Method::{Get, Post, Put};
    let table: &[(&str, Vec<Request>)] = &[
        ("GET /", vec![request(1.0, Get, "/", None)]),
        (
            " GET /catalogue?size=5; 0.2 POST /cart {\"id\": 1} ",
            vec![
                request(1.0, Get, "/catalogue?size=5", None),
                request(0.2, Post, "/cart", Some("{\"id\": 1}")),
            ],
        ),
        (
            "POST /a {\"t\": \"x;y\\\"};\", \"n\": [{\"k\": \";\"}]}; GET /b",
            vec![
                request(
                    1.0,
                    Post,
                    "/a",
                    Some("{\"t\": \"x;y\\\"};\", \"n\": [{\"k\": \";\"}]}"),
                ),
                request(1.0, Get, "/b", None),
            ],
        ),
        (
            "2 PUT /f a=1&b=two words ;\n3e0 GET /é"
                .strip_suffix("é")
                .unwrap(),
            vec![
                request(2.0, Put, "/f", Some("a=1&b=two words")),
                request(3.0, Get, "/", None),
            ],
        ),
        (
            "POST /l [1, \"é;\"];POST /s \"a;b\";;  ;",
            vec![
                request(1.0, Post, "/l", Some("[1, \"é;\"]")),
                request(1.0, Post, "/s", Some("\"a;b\"")),
            ],
        ),
    ];
    for (text, wanted) in table {
        let mix: RequestMix = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(mix.requests(), wanted, "{text}");
        let json = serde_json::to_string(&mix).unwrap();
        assert_eq!(serde_json::from_str::<RequestMix>(&json).unwrap(), mix);
    }
}

#[test]
fn refused_forms_name_place_finding_and_accepted_form() {
    let many = "GET /;".repeat(33);
    let table: &[(&str, &str, &str)] = &[
        ("", "NoRequest", "GET /catalogue?size=5"),
        (" ;; ", "NoRequest", "no request found"),
        ("GET /;;GET /b", "EmptyRequest", "character 7"),
        ("0 GET /", "BadWeight", "character 1: weight `0`"),
        ("-1 GET /", "BadWeight", "number above 0"),
        ("1.2.3 GET /", "BadWeight", "`1.2.3`"),
        ("1e999 GET /", "BadWeight", "`1e999`"),
        ("GET /é", "BadPath", "character 5: path `/é`"),
        ("get /", "BadMethod", "method `get`, expected one of GET"),
        ("CONNECT /", "BadMethod", "`CONNECT`"),
        ("GET /; 2", "BadMethod", "character 9: method ``"),
        ("GET", "BadPath", "character 4: path ``"),
        ("GET http://x/", "BadPath", "`http://x/`"),
        ("GET /a#b", "BadPath", "without \" #"),
        ("POST /é {", "BadPath", "character 6"),
        (
            "POST / {\"a\": 1",
            "BadBody",
            "character 8: body is no JSON",
        ),
        ("POST / \"a;b", "BadBody", "EOF"),
        ("POST / {'a': 1}", "BadBody", "key must be a string"),
        (
            "POST / {} x; GET /",
            "BadBody",
            "character 11: `x; GET /` after",
        ),
        (&many, "TooManyRequests", "33 requests"),
    ];
    for (text, category, message) in table {
        let error = text.parse::<RequestMix>().expect_err(text);
        assert_eq!(error.category(), *category, "{text}: {error}");
        assert!(error.to_string().contains(message), "{text}: {error}");
    }
}

#[test]
fn a_list_that_reads_back_as_something_else_is_refused() {
    let bad = |r: Request| RequestMix::new(vec![r]).unwrap_err();
    assert!(matches!(
        bad(request(1.0, Method::Post, "/", Some("a;GET /"))),
        MixError::Ambiguous { index: 0, .. }
    ));
    assert!(matches!(
        bad(request(1.0, Method::Post, "/", Some(" padded"))),
        MixError::Ambiguous { .. }
    ));
    assert_eq!(
        bad(request(f64::NAN, Method::Get, "/", None)).category(),
        "BadMethod"
    );
    assert_eq!(RequestMix::new(vec![]), Err(MixError::Empty));
}

#[test]
fn shares_add_up() {
    let mix: RequestMix = "GET /; 3 GET /b".parse().unwrap();
    assert_eq!(mix.shares(), [0.25, 0.75]);
}

fn body() -> impl Strategy<Value = Option<String>> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(serde_json::Value::from),
        ".{0,12}".prop_map(serde_json::Value::from),
    ];
    let json = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[a-z;{\"]{1,4}", inner, 0..4)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    });
    prop_oneof![
        Just(None),
        json.prop_map(|v| Some(v.to_string())),
        "[a-z&=+'é](?:[a-z&= {\"]{0,8}[a-z])?".prop_map(Some),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    use Method::{Delete, Get, Head, Options, Patch, Post, Put};
    (
        prop_oneof![Just(1.0), 1e-9..1e9_f64],
        prop::sample::select(vec![Get, Head, Post, Put, Patch, Delete, Options]),
        "/[!$-:=?-_a-~]{0,20}",
        body(),
    )
        .prop_map(|(weight, method, path, body)| Request {
            weight,
            method,
            path,
            body,
        })
}

proptest! {
    #[test]
    fn text_and_list_are_one(requests in prop::collection::vec(any_request(), 1..8)) {
        let mix = RequestMix::new(requests).unwrap();
        prop_assert_eq!(&mix.to_string().parse::<RequestMix>().unwrap(), &mix);
    }

    #[test]
    fn any_text_is_answered(text in "[GETPOS /;{}\"0-9.é\n]{0,40}") {
        if let Ok(mix) = text.parse::<RequestMix>() {
            prop_assert_eq!(mix.to_string().parse::<RequestMix>(), Ok(mix));
        }
    }
}
