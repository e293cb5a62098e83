//! YAML as a tree that knows where everything stands.
//!
//! A document is read once, as it is; what it means is decided on the tree, so that every later complaint can name its
//! line and column. JSON is YAML, too.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// A place in a file, from 1; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub line: u64,
    pub column: u64,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

/// A value, and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub at: Place,
    pub value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; no key is there twice.
    Map(Vec<Entry>),
}

/// An entry of a map.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    /// Where the key stands.
    pub at: Place,
    pub node: Node,
}

impl Node {
    /// The value of a key, where this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.node),
            _ => None,
        }
    }

    /// An element, where this is a list that is long enough.
    pub fn at_index(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Value::List(items) => items.get(index),
            _ => None,
        }
    }

    /// The text, where this is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, in a word.
    pub fn what(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) => format!("{text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// The documents of a file, without empty ones.
///
/// # Errors
/// Where the text is no YAML: the place, where there is one, and what is wrong.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, (Option<Place>, String)> {
    // What a text of this length can hold without aliases: a dump of a large fleet is read, a file that unfolds itself
    // is not.
    let most = text.len().max(100_000);
    let mut budget = serde_saphyr::Budget::default();
    budget.max_events = most;
    budget.max_nodes = most;
    budget.max_total_scalar_bytes = most;
    budget.max_documents = most;
    let options = serde_saphyr::options! { with_snippet: false, budget: Some(budget) };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let at = error.location().filter(|l| l.line() > 0).map(Place::from);
        let said = error.to_string();
        // It names the place by itself, in words of its own.
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        // What a program could do about it is of no use to a person.
        let said = said.split_once(", set DuplicateKeyPolicy").map_or(said, |(said, _)| said);
        (at, format!("not valid YAML: {said}"))
    })
}

/// What has no lines: all of it stands at the beginning.
impl From<&serde_json::Value> for Node {
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let at = Place { line: 1, column: 1 };
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i128() {
                Some(whole) => Value::Int(whole),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from).collect()),
            Json::Object(entries) => {
                let entry = |(key, value): (&String, &Json)| Entry {
                    key: key.clone(),
                    at,
                    node: Self::from(value),
                };
                Value::Map(entries.iter().map(entry).collect())
            }
        };
        Self { at, value }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: referenced.into(),
            value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(i128::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Spanned<String>, Node>()? {
            entries.push(Entry {
                at: key.referenced.into(),
                key: key.value,
                node,
            });
        }
        Ok(Value::Map(entries))
    }
}
