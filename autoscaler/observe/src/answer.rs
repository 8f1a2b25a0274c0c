//! Decoding of Prometheus' HTTP API (prometheus.io/docs/prometheus/latest/querying/api).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::PromError;

/// One series at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Labels, without those that the query dropped.
    pub labels: BTreeMap<String, String>,
    /// When the query was evaluated; not the age of the sample.
    pub evaluated: Timestamp,
    /// The value: may be NaN or infinite.
    pub value: f64,
}

/// The answer to an instant query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Series in Prometheus' order.
    pub samples: Vec<Sample>,
    /// Why the answer may be partial or wrong; not empty means: do not trust sums.
    pub warnings: Vec<String>,
    /// Remarks on the query's style.
    pub infos: Vec<String>,
}

/// One series over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Values by time of evaluation, oldest first.
    pub points: Vec<(Timestamp, f64)>,
}

/// The answer to a range query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RangeAnswer {
    /// Series in Prometheus' order.
    pub series: Vec<Series>,
    /// As in [`Answer`].
    pub warnings: Vec<String>,
    /// As in [`Answer`].
    pub infos: Vec<String>,
}

impl Answer {
    /// Whether Prometheus says that something is missing or wrong.
    pub fn partial(&self) -> bool {
        !self.warnings.is_empty()
    }

    /// Reads the body of an instant query: a vector or a scalar.
    pub fn decode(body: &[u8]) -> Result<Self, PromError> {
        let (data, mut warnings, infos) = envelope(body)?;
        let mut samples = Vec::new();
        match data {
            Data::Vector(rows) => {
                let mut unread = 0_usize;
                for row in rows {
                    let Some(point) = row.value else {
                        unread += 1;
                        continue;
                    };
                    let (evaluated, value) = read(&point)?;
                    samples.push(Sample {
                        labels: row.metric,
                        evaluated,
                        value,
                    });
                }
                note_unread(&mut warnings, unread);
            }
            Data::Scalar(point) => {
                let (evaluated, value) = read(&point)?;
                samples.push(Sample {
                    labels: BTreeMap::new(),
                    evaluated,
                    value,
                });
            }
            Data::Matrix(_) | Data::String(_) => {
                return Err(PromError::Malformed(
                    "an instant query must answer with a vector or a scalar".into(),
                ));
            }
        }
        Ok(Self {
            samples,
            warnings,
            infos,
        })
    }
}

impl RangeAnswer {
    /// Reads the body of a range query: a matrix.
    pub fn decode(body: &[u8]) -> Result<Self, PromError> {
        let (data, mut warnings, infos) = envelope(body)?;
        let Data::Matrix(rows) = data else {
            return Err(PromError::Malformed(
                "a range query must answer with a matrix".into(),
            ));
        };
        let mut series = Vec::with_capacity(rows.len());
        let mut unread = 0;
        for row in rows {
            unread += usize::from(row.histograms.is_some());
            let points = row.values.iter().map(read).collect::<Result<_, _>>()?;
            series.push(Series {
                labels: row.metric,
                points,
            });
        }
        note_unread(&mut warnings, unread);
        Ok(Self {
            series,
            warnings,
            infos,
        })
    }
}

fn note_unread(warnings: &mut Vec<String>, unread: usize) {
    if unread > 0 {
        warnings.push(format!("{unread} native histograms were not read"));
    }
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType", default)]
    kind: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<VectorRow>),
    Matrix(Vec<MatrixRow>),
    Scalar(Point),
    #[allow(dead_code, reason = "read so that its shape is checked, then refused")]
    String(Point),
}

/// Seconds since the epoch, and the value as text.
type Point = (f64, String);

#[derive(Deserialize)]
struct VectorRow {
    metric: BTreeMap<String, String>,
    value: Option<Point>,
}

#[derive(Deserialize)]
struct MatrixRow {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Point>,
    histograms: Option<serde::de::IgnoredAny>,
}

fn envelope(body: &[u8]) -> Result<(Data, Vec<String>, Vec<String>), PromError> {
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|e| PromError::Malformed(e.to_string()))?;
    if envelope.status != "success" {
        return Err(PromError::Refused {
            kind: envelope.kind,
            message: envelope.error,
        });
    }
    match envelope.data {
        Some(data) => Ok((data, envelope.warnings, envelope.infos)),
        None => Err(PromError::Malformed("success without data".into())),
    }
}

fn read((seconds, text): &Point) -> Result<(Timestamp, f64), PromError> {
    let at = instant(*seconds)
        .ok_or_else(|| PromError::Malformed(format!("{seconds} is no time in seconds")))?;
    let value = text
        .parse()
        .map_err(|_| PromError::Malformed(format!("{text:?} is no value")))?;
    Ok((at, value))
}

/// A time from seconds since the epoch, to the millisecond as Prometheus stores it.
pub(crate) fn instant(seconds: f64) -> Option<Timestamp> {
    if !seconds.is_finite() || seconds.abs() > 1e11 {
        return None;
    }
    Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(rows: &str, rest: &str) -> Vec<u8> {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}{rest}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn values_are_text_and_may_be_no_number() {
        let rows = ["1.5", "NaN", "+Inf", "-Inf", "1e-3"]
            .map(|v| format!(r#"{{"metric":{{"pod":"a"}},"value":[1769000000.123,"{v}"]}}"#))
            .join(",");
        let answer = Answer::decode(&vector(&rows, "")).unwrap();
        let values: Vec<f64> = answer.samples.iter().map(|s| s.value).collect();
        assert_eq!(values[0].to_bits(), 1.5_f64.to_bits());
        assert!(values[1].is_nan());
        assert_eq!(values[2..4], [f64::INFINITY, f64::NEG_INFINITY]);
        assert!((values[4] - 0.001).abs() < 1e-12);
        assert_eq!(
            answer.samples[0].evaluated.as_millisecond(),
            1_769_000_000_123
        );
        assert!(!answer.partial());
    }

    #[test]
    fn an_empty_vector_is_an_answer() {
        assert_eq!(Answer::decode(&vector("", "")), Ok(Answer::default()));
    }

    #[test]
    fn warnings_and_unread_histograms_make_an_answer_partial_and_infos_do_not() {
        let row = r#"{"metric":{},"histogram":[1,{"count":"3","sum":"1"}]}"#;
        let unread = Answer::decode(&vector(row, "")).unwrap();
        assert_eq!(unread.warnings, ["1 native histograms were not read"]);
        let warned = Answer::decode(&vector("", r#","warnings":["store b is gone"]"#)).unwrap();
        assert!(warned.partial());
        let informed = Answer::decode(&vector("", r#","infos":["not a counter"]"#)).unwrap();
        assert!(!informed.partial());
        assert_eq!(informed.infos.len(), 1);
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let cases: [(&str, &str); 7] = [
            ("", "AnswerMalformed"),
            ("<html>", "AnswerMalformed"),
            (r#"{"status":"success"}"#, "AnswerMalformed"),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#,
                "AnswerMalformed",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metr"#,
                "AnswerMalformed",
            ),
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
                "AnswerMalformed",
            ),
            (
                r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
                "QueryRefused",
            ),
        ];
        for (body, category) in cases {
            let error = Answer::decode(body.as_bytes()).unwrap_err();
            assert_eq!(error.category(), category, "{body}");
        }
    }

    #[test]
    fn a_matrix_keeps_its_points_in_order() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1,"2"],[16,"NaN"]]}]}}"#;
        let answer = RangeAnswer::decode(body).unwrap();
        let points = &answer.series[0].points;
        assert_eq!(points[0], (Timestamp::from_second(1).unwrap(), 2.0));
        assert!(points[1].1.is_nan());
    }

    #[test]
    fn a_scalar_is_one_sample_without_labels() {
        let body = br#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"42"]}}"#;
        let answer = Answer::decode(body).unwrap();
        assert_eq!(answer.samples.len(), 1);
        assert!(answer.samples[0].labels.is_empty());
    }
}
