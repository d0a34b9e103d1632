//! CBOR, as far as CloudWatch's protocol needs it. Sources: RFC 8949; Smithy, "RPC v2 CBOR protocol".

use minicbor::{
    Decoder, Encoder,
    data::{IanaTag, Type},
};
use serde_json::{Map, Value};

/// Reads a request.
pub(crate) fn decoded(bytes: &[u8]) -> Value {
    value(&mut Decoder::new(bytes))
}

fn value(decoder: &mut Decoder<'_>) -> Value {
    match decoder.datatype().unwrap() {
        Type::Map | Type::MapIndef => Value::Object(entries(decoder)),
        Type::Array | Type::ArrayIndef => {
            let length = decoder.array().unwrap();
            each(decoder, length, value).into()
        }
        Type::String => decoder.str().unwrap().into(),
        Type::Bool => decoder.bool().unwrap().into(),
        _ => decoder.i64().unwrap().into(),
    }
}

fn entries(decoder: &mut Decoder<'_>) -> Map<String, Value> {
    let length = decoder.map().unwrap();
    each(decoder, length, |decoder| (decoder.str().unwrap().to_owned(), value(decoder))).into_iter().collect()
}

/// Reads so many items, or all until the break that ends a container without a length.
fn each<'b, T>(decoder: &mut Decoder<'b>, length: Option<u64>, read: impl Fn(&mut Decoder<'b>) -> T) -> Vec<T> {
    let mut found = Vec::new();
    while length.map_or(decoder.datatype().unwrap() != Type::Break, |length| (found.len() as u64) < length) {
        found.push(read(decoder));
    }
    if length.is_none() {
        decoder.skip().unwrap();
    }
    found
}

/// Writes an answer. Floating-point numbers are times, in seconds since the epoch: nothing else is one in the answers of these tests.
pub(crate) fn encoded(answer: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder, answer);
    encoder.into_writer()
}

fn write(encoder: &mut Encoder<Vec<u8>>, value: &Value) {
    match value {
        Value::Object(map) => {
            encoder.map(map.len() as u64).unwrap();
            for (name, value) in map {
                encoder.str(name).unwrap();
                write(encoder, value);
            }
        }
        Value::Array(items) => {
            encoder.array(items.len() as u64).unwrap();
            items.iter().for_each(|item| write(encoder, item));
        }
        Value::String(text) => drop(encoder.str(text).unwrap()),
        Value::Bool(is) => drop(encoder.bool(*is).unwrap()),
        number => drop(encoder.tag(IanaTag::Timestamp).unwrap().f64(number.as_f64().unwrap()).unwrap()),
    }
}
