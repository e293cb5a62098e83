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
        let wrong = "is not a positive quantity; write for example \"100Gi\"";
        schema(
            "type(self) == int ? self > 0 : isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
            &format!("'\"' + string(self) + '\" {wrong}'"),
            false,
        )
    }
}

/// A whole number or a text that must satisfy a rule. A field that may be left out may also be null.
fn schema(rule: &str, message: &str, nullable: bool) -> Schema {
    let mut schema = json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 64,
        "x-kubernetes-validations": [{"rule": rule, "messageExpression": message}],
    });
    if nullable {
        schema.insert("nullable".to_owned(), true.into());
    }
    schema
}

/// The schema of a quantity of 1Mi or more: sizes are counted in MiB.
pub(crate) fn at_least_one_mebibyte_or_null(_: &mut SchemaGenerator) -> Schema {
    let wrong = "is not a quantity of 1Mi or more; write for example \"5Gi\"";
    schema(
        "type(self) == int ? self >= 1048576 : isQuantity(self) && quantity(self).compareTo(quantity('1Mi')) >= 0",
        &format!("'\"' + string(self) + '\" {wrong}'"),
        true,
    )
}

/// The schema of a quantity that may be zero.
pub(crate) fn zero_or_more_or_null(_: &mut SchemaGenerator) -> Schema {
    let wrong = "is not a quantity of 0 or more; write for example \"10Gi\"";
    schema(
        "type(self) == int ? self >= 0 : isQuantity(self) && quantity(self).compareTo(quantity('0')) >= 0",
        &format!("'\"' + string(self) + '\" {wrong}'"),
        true,
    )
}

/// The schema of a step: a percentage or a quantity, never a bare number.
pub(crate) fn step_or_null(_: &mut SchemaGenerator) -> Schema {
    let bare = "is a bare number; write \"20%\" or \"20Gi\"";
    let wrong = "is neither a percentage from 1% to 1000% nor a quantity of 1Mi or more; write for example \"20%\" or \"20Gi\"";
    schema(
        "type(self) == int ? false : self.endsWith('%') ? self.matches('^0*([1-9][0-9]{0,2}|1000)%$') : isQuantity(self) && quantity(self).compareTo(quantity('1Mi')) >= 0",
        &format!("'step: \"' + string(self) + (type(self) == int ? '\" {bare}' : '\" {wrong}')"),
        true,
    )
}
