//! Text inside SVG and HTML.

use std::fmt::Write as _;

/// Colours of figures, as a style sheet; a page includes it once.
pub const STYLE: &str = "\
svg{max-width:100%;height:auto;font:12px system-ui,sans-serif}\
svg text{fill:#333}\
.frame{fill:none;stroke:#bbb}.grid{stroke:#e8e8e8}\
.line{fill:none;stroke-width:2}.dashed{stroke-dasharray:6 4}\
.old{stroke:#888;fill:#888}.new{stroke:#1769aa;fill:#1769aa}.other{stroke:#2e7d32;fill:#2e7d32}\
.limit{stroke:#b71c1c;fill:#b71c1c}.hold{stroke:#e0a100;fill:#e0a100}\
.line.old,.line.new,.line.other,.line.limit,.line.hold{fill:none}\
.area{stroke:none;fill-opacity:.18}\
svg text.old,svg text.new,svg text.other,svg text.limit,svg text.hold{stroke:none}";

/// The text with what HTML and SVG would read as markup escaped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A number for people: three significant digits, no needless zeros.
pub fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let digits = if size >= 100.0 || size == 0.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        2
    };
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write!(out, "{value:.digits$}");
    if out.contains('.') {
        let kept = out.trim_end_matches('0').trim_end_matches('.').len();
        out.truncate(kept);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{escape, figure};

    #[test]
    fn markup_is_escaped_and_figures_are_short() {
        assert_eq!(escape("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (0.254, "0.25"),
            (12.34, "12.3"),
            (123.4, "123"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
