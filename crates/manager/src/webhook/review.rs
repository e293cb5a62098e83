//! What the API server asks, and what it is answered (Kubernetes, `admission.k8s.io/v1`).

use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A question, as far as it matters here. The objects stay text: what is read of them is up to the webhook.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub uid: String,
    pub kind: Kind,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    pub operation: String,
    #[serde(default)]
    pub object: Option<Box<RawValue>>,
    #[serde(default)]
    pub old_object: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
pub struct Kind {
    pub kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// What is answered.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// Why it is refused.
    pub refused: Option<String>,
    /// What whoever asked is told beside.
    pub warnings: Vec<String>,
    /// A value of the object that becomes another one: its JSON pointer, and the value.
    pub replace: Option<(&'static str, Value)>,
}

impl Answer {
    /// How metrics call it.
    pub fn result(&self) -> &'static str {
        match (&self.refused, &self.replace) {
            (Some(_), _) => "refused",
            (None, Some(_)) => "changed",
            (None, None) => "allowed",
        }
    }

    /// As the API server reads it.
    pub fn to_review(&self, uid: &str) -> Value {
        let Self {
            refused,
            warnings,
            replace,
        } = self;
        let response = Response {
            uid,
            allowed: refused.is_none(),
            // What the API server says of an object that its schema refuses.
            status: refused
                .as_ref()
                .map(|message| json!({"code": 422, "reason": "Invalid", "message": message})),
            warnings: fit(warnings),
            patch_type: replace.as_ref().map(|_| "JSONPatch"),
            patch: replace.as_ref().map(|(path, value)| {
                let patch = json!([{"op": "replace", "path": path, "value": value}]);
                ByteString(patch.to_string().into_bytes())
            }),
        };
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
}

/// Reads a question.
///
/// # Errors
/// What is wrong with it.
pub fn read(body: &[u8]) -> Result<Request, String> {
    let review: Review = serde_json::from_slice(body).map_err(|error| format!("this is no AdmissionReview: {error}"))?;
    if (review.api_version.as_str(), review.kind.as_str()) != ("admission.k8s.io/v1", "AdmissionReview") {
        let Review { api_version, kind, .. } = review;
        return Err(format!(
            "this is a {kind:?} of {api_version:?}; send an AdmissionReview of admission.k8s.io/v1"
        ));
    }
    review.request.ok_or_else(|| "this AdmissionReview has no request".to_owned())
}

/// The API server cuts warnings at 256 characters where all of them together pass 4096 (k8s.io/apiserver, warning).
const LONGEST: usize = 256;
/// So many of that length never pass it.
const MOST: usize = 15;

/// Warnings that the API server passes on whole, and how many more there are.
fn fit(warnings: &[String]) -> Vec<String> {
    let cut = |text: &String| {
        if text.chars().count() <= LONGEST {
            return text.clone();
        }
        let mut cut: String = text.chars().take(LONGEST - 1).collect();
        cut.push('…');
        cut
    };
    let mut fitting: Vec<String> = warnings.iter().take(MOST).map(cut).collect();
    match warnings.len().saturating_sub(MOST) {
        0 => {}
        more => fitting.push(format!("and {more} more warnings: kubectl cnpg storage lint tells all of them")),
    }
    fitting
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_the_api_server_reads_it() {
        let nothing = Answer::default().to_review("u1");
        assert_eq!(nothing["response"], json!({"uid": "u1", "allowed": true}));
        let refused = Answer {
            refused: Some("not so".to_owned()),
            warnings: vec!["mind this".to_owned()],
            replace: None,
        };
        assert_eq!(refused.result(), "refused");
        let status = json!({"code": 422, "reason": "Invalid", "message": "not so"});
        assert_eq!(
            refused.to_review("u2")["response"],
            json!({"uid": "u2", "allowed": false, "status": status, "warnings": ["mind this"]})
        );
        let changed = Answer {
            replace: Some(("/spec/size", json!("15Gi"))),
            ..Answer::default()
        };
        assert_eq!(changed.result(), "changed");
        let patch = changed.to_review("u3")["response"]["patch"].clone();
        let ByteString(patch) = serde_json::from_value(patch).unwrap();
        assert_eq!(patch, br#"[{"op":"replace","path":"/spec/size","value":"15Gi"}]"#);
    }

    #[test]
    fn what_is_no_review_is_said() {
        for (body, words) in [
            ("", "this is no AdmissionReview"),
            ("[]", "this is no AdmissionReview"),
            (r#"{"apiVersion":"v1","kind":"Pod"}"#, r#"this is a "Pod" of "v1""#),
            (r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#, "has no request"),
            (
                r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":5}}"#,
                "this is no AdmissionReview",
            ),
        ] {
            let wrong = read(body.as_bytes()).unwrap_err();
            assert!(wrong.contains(words), "{body}: {wrong}");
        }
    }

    #[test]
    fn warnings_fit() {
        let long = "ä".repeat(300);
        let fitting = fit(&vec![long; 20]);
        assert_eq!(fitting.len(), 16);
        assert_eq!(fitting[0].chars().count(), 256);
        assert!(fitting[0].ends_with('…'));
        assert!(fitting[15].starts_with("and 5 more"));
        assert_eq!(fit(&["short".to_owned()]), ["short"]);
    }
}
