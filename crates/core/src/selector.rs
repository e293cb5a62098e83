use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::validate::Problem;

/// A label selector, parsed once. It matches as Kubernetes has it: all requirements must hold, and a key
/// that is absent satisfies `NotIn` and `DoesNotExist`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    /// A selector with a mistake selects nothing: its author did not mean everything.
    broken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Parses a selector; `field` names it in problems. A missing one is empty.
    #[must_use]
    pub fn parse(field: &'static str, selector: Option<&LabelSelector>) -> (Self, Vec<Problem>) {
        let Some(LabelSelector {
            match_expressions,
            match_labels,
        }) = selector
        else {
            return (Self::default(), Vec::new());
        };
        let mut problems = Vec::new();
        let labels = match_labels.iter().flatten().map(|(key, value)| Requirement {
            key: key.clone(),
            test: Test::In(vec![value.clone()]),
        });
        let mut requirements: Vec<Requirement> = labels.collect();
        for expression in match_expressions.iter().flatten() {
            match requirement(field, expression) {
                Ok(requirement) => requirements.push(requirement),
                Err(problem) => problems.push(problem),
            }
        }
        let broken = !problems.is_empty();
        (Self { requirements, broken }, problems)
    }

    /// Whether it asks for nothing; such a selector is as good as none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.broken
    }

    /// Whether a mistake keeps it from selecting anything.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it selects an object with these labels and one more that is implied.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>, implied: (&str, &str)) -> bool {
        !self.broken
            && self.requirements.iter().all(|Requirement { key, test }| {
                let value = if key == implied.0 {
                    Some(implied.1)
                } else {
                    labels.get(key).map(String::as_str)
                };
                match test {
                    Test::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
                    Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|x| x != v)),
                    Test::Exists => value.is_some(),
                    Test::DoesNotExist => value.is_none(),
                }
            })
    }
}

fn requirement(field: &'static str, expression: &LabelSelectorRequirement) -> Result<Requirement, Problem> {
    let LabelSelectorRequirement { key, operator, values } = expression;
    let values = values.clone().unwrap_or_default();
    let wrong = |why: &str, example: &str| {
        let reason = format!("{field}: the expression on {key:?} {why}");
        Problem::new(
            field,
            format_args!("{{key: {key}, operator: {operator}, values: {values:?}}}"),
            reason,
            example,
        )
    };
    let in_example = "{key: tier, operator: In, values: [prod]}";
    let exists_example = "{key: tier, operator: Exists}";
    let test = match (operator.as_str(), values.is_empty()) {
        ("In", false) => Test::In(values),
        ("NotIn", false) => Test::NotIn(values),
        ("In" | "NotIn", true) => return Err(wrong("needs at least one value", in_example)),
        ("Exists", true) => Test::Exists,
        ("DoesNotExist", true) => Test::DoesNotExist,
        ("Exists" | "DoesNotExist", false) => return Err(wrong("takes no values", exists_example)),
        _ => {
            let why = format!("has the unknown operator {operator:?}; use In, NotIn, Exists or DoesNotExist");
            return Err(wrong(&why, in_example));
        }
    };
    Ok(Requirement { key: key.clone(), test })
}
