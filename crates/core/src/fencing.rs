use std::sync::Arc;

/// Which instances CNPG fences: its annotation `cnpg.io/fencedInstances`, a JSON list of names, or `["*"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// None.
    #[default]
    None,
    /// These.
    Instances(Vec<Arc<str>>),
    /// All.
    All,
    /// The annotation is no JSON list of names: it counts as all. The text is kept for people.
    Unreadable(Arc<str>),
}

impl Fencing {
    /// Reads the annotation.
    #[must_use]
    pub fn read(annotation: Option<&str>) -> Self {
        let Some(text) = annotation else {
            return Self::None;
        };
        match serde_json::from_str::<Vec<String>>(text) {
            Err(_) => Self::Unreadable(text.into()),
            Ok(names) if names.is_empty() => Self::None,
            Ok(names) if names.iter().any(|n| n == "*") => Self::All,
            Ok(names) => Self::Instances(names.into_iter().map(Into::into).collect()),
        }
    }

    /// Whether this instance is fenced, or could be.
    #[must_use]
    pub fn covers(&self, instance: &str) -> bool {
        match self {
            Self::None => false,
            Self::Instances(names) => names.iter().any(|n| **n == *instance),
            Self::All | Self::Unreadable(_) => true,
        }
    }
}
