use std::borrow::Cow;

use csm_units::{Bytes, QuantityError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A size as a person wrote it: a Kubernetes quantity, or a whole number of bytes.
///
/// It is parsed where settings are resolved, so that a wrong text can be reported with its field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuantityText(String);

impl QuantityText {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The size that it says.
    ///
    /// # Errors
    /// See [`QuantityError`].
    pub fn parse(&self) -> Result<Bytes, QuantityError> {
        self.0.parse()
    }
}

impl<T: Into<String>> From<T> for QuantityText {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl Serialize for QuantityText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for QuantityText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = QuantityText;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a quantity such as \"100Gi\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<QuantityText, E> {
                Ok(QuantityText(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<QuantityText, E> {
                Ok(QuantityText(bytes.to_string()))
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<QuantityText, E> {
                Ok(QuantityText(bytes.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for QuantityText {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 64,
            "x-kubernetes-validations": [{
                "rule": "type(self) == int ? self > 0 : isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
                "messageExpression": "'\"' + string(self) + '\" is not a positive quantity; write for example \"100Gi\"'",
            }],
        })
    }
}
