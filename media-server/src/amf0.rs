//! AMF0, the encoding of RTMP's commands and of FLV's script tags (Adobe "AMF 0", 2007).
//!
//! Decoding is bounded: nesting to [`MAX_DEPTH`], values to [`MAX_VALUES`] a message, and no announced count or
//! length is believed before the bytes are there.

/// How deep objects and arrays may nest.
pub const MAX_DEPTH: usize = 16;
/// How many values one message may hold.
pub const MAX_VALUES: usize = 4096;

/// One AMF0 value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Marker 0.
    Number(f64),
    /// Marker 1.
    Bool(bool),
    /// Markers 2 and 12.
    String(String),
    /// Marker 3, in the order of the wire.
    Object(Vec<(String, Value)>),
    /// Marker 5.
    Null,
    /// Markers 6 and 13.
    Undefined,
    /// Marker 8; its announced count is not kept.
    EcmaArray(Vec<(String, Value)>),
    /// Marker 10.
    StrictArray(Vec<Value>),
    /// Marker 11: milliseconds since 1970; the time zone is not kept, as the specification asks.
    Date(f64),
}

/// Why bytes are not AMF0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end inside a value.
    #[error("AMF0: the message ends inside a value, at byte {0}")]
    Truncated(usize),
    /// A type marker this decoder does not read (AMF3, references, XML, typed objects).
    #[error("AMF0: marker {marker} at byte {at} is not supported")]
    Marker {
        /// The marker.
        marker: u8,
        /// Where it stands.
        at: usize,
    },
    /// More than [`MAX_DEPTH`] levels.
    #[error("AMF0: objects nest deeper than {MAX_DEPTH} levels")]
    Depth,
    /// More than [`MAX_VALUES`] values.
    #[error("AMF0: more than {MAX_VALUES} values in one message")]
    Values,
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<String>) -> Self {
        Value::String(text.into())
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number; NaN and infinities read as none.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) if number.is_finite() => Some(*number),
            _ => None,
        }
    }

    /// The fields of an object or ECMA array.
    pub fn fields(&self) -> &[(String, Value)] {
        match self {
            Value::Object(fields) | Value::EcmaArray(fields) => fields,
            _ => &[],
        }
    }

    /// The field of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Appends the encoded value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Number(number) => number_to(out, 0, *number),
            Value::Bool(flag) => out.extend_from_slice(&[1, u8::from(*flag)]),
            Value::String(text) if u16::try_from(text.len()).is_ok() => {
                out.push(2);
                key_to(out, text);
            }
            Value::String(text) => {
                out.push(12);
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Value::Object(fields) => {
                out.push(3);
                fields_to(out, fields);
            }
            Value::Null => out.push(5),
            Value::Undefined => out.push(6),
            Value::EcmaArray(fields) => {
                out.push(8);
                out.extend_from_slice(&(fields.len() as u32).to_be_bytes());
                fields_to(out, fields);
            }
            Value::StrictArray(items) => {
                out.push(10);
                out.extend_from_slice(&(items.len() as u32).to_be_bytes());
                for item in items {
                    item.encode(out);
                }
            }
            Value::Date(time) => {
                number_to(out, 11, *time);
                out.extend_from_slice(&[0, 0]);
            }
        }
    }
}

fn number_to(out: &mut Vec<u8>, marker: u8, number: f64) {
    out.push(marker);
    out.extend_from_slice(&number.to_be_bytes());
}

fn key_to(out: &mut Vec<u8>, key: &str) {
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&key.as_bytes()[..usize::from(length)]);
}

fn fields_to(out: &mut Vec<u8>, fields: &[(String, Value)]) {
    for (key, value) in fields {
        key_to(out, key);
        value.encode(out);
    }
    out.extend_from_slice(&[0, 0, 9]);
}

/// Encodes values one after the other, as a command's body has them.
pub fn encode_all(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    for value in values {
        value.encode(&mut out);
    }
    out
}

/// Decodes all values of a message's body.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Value>, Error> {
    let mut decoder = Decoder { bytes, at: 0, values: 0 };
    let mut values = Vec::new();
    while decoder.at < bytes.len() {
        values.push(decoder.value(0)?);
    }
    Ok(values)
}

/// Decodes what stands before the first error: publishers append odd things behind a command's known arguments.
pub fn decode_prefix(bytes: &[u8]) -> Vec<Value> {
    let mut decoder = Decoder { bytes, at: 0, values: 0 };
    let mut values = Vec::new();
    while decoder.at < bytes.len() {
        match decoder.value(0) {
            Ok(value) => values.push(value),
            Err(_) => break,
        }
    }
    values
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl Decoder<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Error> {
        let end = self.at.checked_add(count).ok_or(Error::Truncated(self.at))?;
        let slice = self.bytes.get(self.at..end).ok_or(Error::Truncated(self.bytes.len()))?;
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn text(&mut self, length: usize) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn short_text(&mut self) -> Result<String, Error> {
        let length = u16::from_be_bytes(self.array()?);
        self.text(usize::from(length))
    }

    fn number(&mut self) -> Result<f64, Error> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<(String, Value)>, Error> {
        let mut fields = Vec::new();
        loop {
            let key = self.short_text()?;
            if key.is_empty() && self.bytes.get(self.at) == Some(&9) {
                self.at += 1;
                return Ok(fields);
            }
            fields.push((key, self.value(depth + 1)?));
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Depth);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Error::Values);
        }
        let at = self.at;
        let [marker] = self.array()?;
        Ok(match marker {
            0 => Value::Number(self.number()?),
            1 => Value::Bool(self.array::<1>()? != [0]),
            2 => Value::String(self.short_text()?),
            3 => Value::Object(self.fields(depth)?),
            5 => Value::Null,
            6 | 13 => Value::Undefined,
            8 => {
                self.take(4)?;
                Value::EcmaArray(self.fields(depth)?)
            }
            10 => {
                let count = u32::from_be_bytes(self.array()?);
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(depth + 1)?);
                }
                Value::StrictArray(items)
            }
            11 => {
                let time = self.number()?;
                self.take(2)?;
                Value::Date(time)
            }
            12 => {
                let length = u32::from_be_bytes(self.array()?);
                Value::String(self.text(length as usize)?)
            }
            marker => return Err(Error::Marker { marker, at }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_filter("NaN is not equal to itself", |n| !n.is_nan()).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Bool),
            ".{0,40}".prop_map(Value::String),
            Just(Value::Null),
            Just(Value::Undefined),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let fields = prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..6);
            prop_oneof![
                fields.clone().prop_map(Value::Object),
                fields.prop_map(Value::EcmaArray),
                prop::collection::vec(inner, 0..6).prop_map(Value::StrictArray),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(values in prop::collection::vec(any_value(), 0..5)) {
            prop_assert_eq!(decode_all(&encode_all(&values)), Ok(values));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode_all(&bytes);
            let _ = decode_prefix(&bytes);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut bytes = Vec::new();
        for _ in 0..10_000 {
            bytes.extend_from_slice(&[3, 0, 1, b'a']);
        }
        assert_eq!(decode_all(&bytes), Err(Error::Depth));
    }

    #[test]
    fn announced_sizes_are_not_believed() {
        assert_eq!(decode_all(&[10, 0xff, 0xff, 0xff, 0xff]), Err(Error::Truncated(5)));
        assert_eq!(decode_all(&[12, 0xff, 0xff, 0xff, 0xff, b'x']), Err(Error::Truncated(6)));
        assert_eq!(decode_all(&[8, 0xff, 0xff, 0xff, 0xff, 0, 0, 9]), Ok(vec![Value::EcmaArray(vec![])]));
        let mut many = vec![10, 0xff, 0xff, 0xff, 0xff];
        many.resize(10_000, 5);
        assert_eq!(decode_all(&many), Err(Error::Values));
    }

    #[test]
    fn a_nan_is_no_number() {
        assert_eq!(Value::Number(f64::NAN).as_number(), None);
    }
}
