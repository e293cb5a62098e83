//! From a tree to a type; every error says where it stands.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::mistake::did_you_mean;
use super::tree::{Entry, Node, Place, Value};

/// What a key without a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nulls {
    /// A value of its own.
    Kept,
    /// As good as no key: what the API server does with a field of a type that is not nullable.
    Missing,
}

/// Reads a type from a tree.
///
/// # Errors
/// The first that does not fit.
pub(super) fn decode<T: DeserializeOwned>(node: &Node, nulls: Nulls) -> Result<T, Failure> {
    T::deserialize(De { node, nulls })
}

/// What does not fit, where.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    /// Where it stands; none only where nothing was looked at.
    pub at: Option<Place>,
    /// Keys and indices from the inside out.
    path: Vec<String>,
    /// The message names the last key itself.
    unknown: Option<String>,
}

impl Failure {
    fn at(mut self, place: Place) -> Self {
        self.at.get_or_insert(place);
        self
    }

    fn under(mut self, key: String) -> Self {
        self.path.push(key);
        self
    }
}

impl Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            at: None,
            path: Vec::new(),
            unknown: None,
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self {
            message: did_you_mean(field, expected.iter().copied()),
            at: None,
            path: Vec::new(),
            unknown: Some(field.to_owned()),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("{variant:?} is none of {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("{field} is missing"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = String::new();
        for part in self.path.iter().rev().chain(&self.unknown) {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        match (&self.unknown, path.as_str()) {
            (Some(_), path) => write!(f, "unknown key {path}{}", self.message),
            (None, "") => f.write_str(&self.message),
            (None, path) => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for Failure {}

#[derive(Clone, Copy)]
struct De<'a> {
    node: &'a Node,
    nulls: Nulls,
}

impl<'de> De<'_> {
    fn any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let nulls = self.nulls;
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => Err(Failure::custom(format_args!("{value} is too large"))),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
                nulls,
            }),
            Value::Map(entries) => visitor.visit_map(Entries {
                rest: entries.iter(),
                current: None,
                nulls,
            }),
        }
    }
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.any(visitor).map_err(|failure| failure.at(self.node.at))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        let chosen = match &self.node.value {
            Value::Text(text) => visitor.visit_enum(StrDeserializer::<Failure>::new(text)),
            _ => Err(Failure::custom(format_args!("{} is not a word", self.node.what()))),
        };
        chosen.map_err(|failure| failure.at(self.node.at))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    nulls: Nulls,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let element = seed.deserialize(De { node, nulls: self.nulls });
        element.map(Some).map_err(|failure| failure.at(node.at).under(format!("[{index}]")))
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
    nulls: Nulls,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let missing = |entry: &&Entry| self.nulls == Nulls::Missing && matches!(entry.node.value, Value::Null);
        self.current = self.rest.by_ref().find(|entry| !missing(entry));
        let Some(entry) = self.current else { return Ok(None) };
        let key = seed.deserialize(StrDeserializer::<Failure>::new(&entry.key));
        key.map(Some).map_err(|failure| failure.at(entry.at))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some(entry) = self.current.take() else {
            return Err(Failure::custom("a value without a key"));
        };
        let value = seed.deserialize(De {
            node: &entry.node,
            nulls: self.nulls,
        });
        value.map_err(|failure| failure.at(entry.node.at).under(entry.key.clone()))
    }
}
