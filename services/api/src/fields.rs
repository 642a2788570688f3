//! What is wrong with a body? Every wrong field is named in one answer, with the reason.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::problem::{FieldError, Problem};

/// Why a value is not what its field wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub code: &'static str,
    pub detail: String,
}

impl Wrong {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub fn kind(wanted: &str, value: &Value) -> Self {
        Self::new("wrong_type", format!("must be {wanted}, not {}", kind_of(value)))
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The fields of one object, read one by one; what goes wrong is collected.
pub struct Fields<'v> {
    object: Option<&'v Map<String, Value>>,
    path: String,
    read: BTreeSet<&'static str>,
    errors: Vec<FieldError>,
}

impl<'v> Fields<'v> {
    /// The body itself. A body that is not an object is one error, and all its fields are absent.
    pub fn of(value: &'v Value) -> Self {
        let mut fields = Self::at(value.as_object(), String::new());
        if fields.object.is_none() {
            fields.note("", Wrong::kind("an object", value));
        }
        fields
    }

    fn at(object: Option<&'v Map<String, Value>>, path: String) -> Self {
        Self { object, path, read: BTreeSet::new(), errors: Vec::new() }
    }

    fn name(&self, field: &str) -> String {
        match (self.path.is_empty(), field.is_empty()) {
            (true, _) => field.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{field}", self.path),
        }
    }

    /// Names a field that is wrong for a reason found elsewhere.
    pub fn note(&mut self, field: &str, wrong: Wrong) {
        let field = self.name(field);
        self.errors.push(FieldError { field, code: wrong.code, detail: wrong.detail });
    }

    /// The value; `null` counts as absent.
    fn take(&mut self, field: &'static str) -> Option<&'v Value> {
        self.read.insert(field);
        self.object?.get(field).filter(|value| !value.is_null())
    }

    pub fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        let value = self.take(field)?;
        match read(value) {
            Ok(read) => Some(read),
            Err(wrong) => {
                self.note(field, wrong);
                None
            }
        }
    }

    /// As [`Fields::optional`], but `null` is told apart from absence: it takes a value away.
    pub fn nullable<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<Option<T>> {
        let is_null = self.object.and_then(|object| object.get(field)).is_some_and(Value::is_null);
        let value = self.optional(field, read);
        if is_null { Some(None) } else { value.map(Some) }
    }

    /// Whether something is said of the field; it counts as read by whoever reads it.
    pub fn has(&self, field: &str) -> bool {
        self.object.and_then(|object| object.get(field)).is_some_and(|value| !value.is_null())
    }

    /// Whether there are fields at all.
    pub fn is_object(&self) -> bool {
        self.object.is_some()
    }

    /// There are such fields, though nobody reads them now.
    pub fn known(&mut self, fields: &[&'static str]) {
        self.read.extend(fields);
    }

    /// Something was wrong so far.
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    pub fn required<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.take(field).is_none() {
            if self.object.is_some() {
                self.note(field, Wrong::new("missing", "is required"));
            }
            return None;
        }
        self.optional(field, read)
    }

    /// An object inside; its wrong fields are named with its path.
    pub fn object<T>(
        &mut self,
        field: &'static str,
        required: bool,
        read: impl FnOnce(&mut Fields<'v>) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.take(field) else {
            if required && self.object.is_some() {
                self.note(field, Wrong::new("missing", "is required"));
            }
            return None;
        };
        let Some(object) = value.as_object() else {
            self.note(field, Wrong::kind("an object", value));
            return None;
        };
        let mut inside = Fields::at(Some(object), self.name(field));
        let read = read(&mut inside);
        inside.name_unknown();
        self.errors.append(&mut inside.errors);
        read
    }

    /// The elements of a list; none when it is absent or no list, or has more than `length_max`.
    fn elements(&mut self, field: &'static str, length_max: usize) -> &'v [Value] {
        let Some(value) = self.take(field) else { return &[] };
        let Some(values) = value.as_array() else {
            self.note(field, Wrong::kind("an array", value));
            return &[];
        };
        if values.len() > length_max {
            let detail = format!("must have at most {length_max} elements, not {}", values.len());
            self.note(field, Wrong::new("too_long", detail));
            return &[];
        }
        values
    }

    fn require(&mut self, field: &'static str) {
        if self.take(field).is_none() && self.object.is_some() {
            self.note(field, Wrong::new("missing", "is required"));
        }
    }

    /// A list of at most `length_max` values; absent means empty. Each wrong element is named.
    pub fn list<T>(
        &mut self,
        field: &'static str,
        length_max: usize,
        read: impl Fn(&Value) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let mut list = Vec::new();
        for (index, value) in self.elements(field, length_max).iter().enumerate() {
            match read(value) {
                Ok(read) => list.push(read),
                Err(wrong) => self.note(&format!("{field}[{index}]"), wrong),
            }
        }
        list
    }

    /// A list of at most `length_max` objects, which must be there; wrong fields are named with their path.
    pub fn required_objects<T>(
        &mut self,
        field: &'static str,
        length_max: usize,
        read: impl Fn(&mut Fields<'v>) -> Option<T>,
    ) -> Vec<T> {
        self.require(field);
        let mut list = Vec::new();
        for (index, value) in self.elements(field, length_max).iter().enumerate() {
            let place = format!("{field}[{index}]");
            let Some(object) = value.as_object() else {
                self.note(&place, Wrong::kind("an object", value));
                continue;
            };
            let mut inside = Fields::at(Some(object), self.name(&place));
            list.extend(read(&mut inside));
            inside.name_unknown();
            self.errors.append(&mut inside.errors);
        }
        list
    }

    /// As [`Fields::list`], but the field must be there.
    pub fn required_list<T>(
        &mut self,
        field: &'static str,
        length_max: usize,
        read: impl Fn(&Value) -> Result<T, Wrong>,
    ) -> Vec<T> {
        self.require(field);
        self.list(field, length_max, read)
    }

    fn name_unknown(&mut self) {
        let Some(object) = self.object else { return };
        let known = self.read.iter().copied().collect::<Vec<_>>().join(", ");
        for field in object.keys().filter(|field| !self.read.contains(field.as_str())) {
            let field = if self.path.is_empty() { field.clone() } else { format!("{}.{field}", self.path) };
            let detail = if known.is_empty() {
                "there is no such field; none is taken here".to_owned()
            } else {
                format!("there is no such field; known are {known}")
            };
            self.errors.push(FieldError { field, code: "unknown", detail });
        }
    }

    /// Fields that nobody read are errors too. `value` is what was read; it is whole when nothing
    /// was wrong.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Problem> {
        self.name_unknown();
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            Some(_) | None => Err(Problem::fields(self.errors)),
        }
    }
}

/// Any string of this many characters.
pub fn text(length_min: usize, length_max: usize) -> impl Fn(&Value) -> Result<String, Wrong> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
        let length = text.chars().count();
        if length < length_min {
            let detail = format!("must have at least {length_min} characters, not {length}");
            return Err(Wrong::new("too_short", detail));
        }
        if length > length_max {
            let detail = format!("must have at most {length_max} characters, not {length}");
            return Err(Wrong::new("too_long", detail));
        }
        if text.chars().any(char::is_control) {
            return Err(Wrong::new("malformed", "must not have control characters"));
        }
        Ok(text.to_owned())
    }
}

pub fn boolean(value: &Value) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| Wrong::kind("true or false", value))
}

/// A whole number within bounds, both included.
pub fn whole(min: u64, max: u64) -> impl Fn(&Value) -> Result<u64, Wrong> {
    move |value| {
        let number = value.as_number().ok_or_else(|| Wrong::kind("a whole number", value))?;
        // 2.0 is as whole as 2
        let whole = number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0 && (0.0..9e15).contains(&float)).then_some(float as u64)
        });
        match whole {
            Some(whole) if (min..=max).contains(&whole) => Ok(whole),
            None if number.as_f64().is_some_and(|float| float.fract() != 0.0) => {
                Err(Wrong::new("wrong_type", format!("must be a whole number between {min} and {max}")))
            }
            Some(_) | None => {
                Err(Wrong::new("out_of_range", format!("must be a whole number between {min} and {max}")))
            }
        }
    }
}

/// An exact quantity within bounds, both included, in thousandths.
pub fn quantity(
    min_thousandths: u64,
    max_thousandths: u64,
) -> impl Fn(&Value) -> Result<events::Milli, Wrong> {
    use events::Milli;
    let (min, max) = (Milli::from_thousandths(min_thousandths), Milli::from_thousandths(max_thousandths));
    move |value| {
        let number = value.as_f64().ok_or_else(|| Wrong::kind("a number", value))?;
        if !(min.as_f64()..=max.as_f64()).contains(&number) {
            return Err(Wrong::new("out_of_range", format!("must be between {min} and {max}")));
        }
        Milli::from_f64(number)
            .ok_or_else(|| Wrong::new("malformed", "must have at most three digits after the point"))
    }
}

/// One of the ids of `events::ids`.
pub fn id<T>(
    parse: impl Fn(String) -> Result<T, events::ids::InvalidId>,
) -> impl Fn(&Value) -> Result<T, Wrong> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
        parse(text.to_owned()).map_err(|invalid| Wrong::new("malformed", format!("must be {}", invalid.rule)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn every_wrong_field_is_named_in_one_answer() {
        let body = json!({"name": 1, "inner": {"n": 1.5, "other": 1}, "list": ["a", 2], "extra": true});
        let mut fields = Fields::of(&body);
        let name = fields.required("name", text(1, 5));
        let n = fields.object("inner", true, |inner| inner.required("n", whole(0, 5)));
        let list = fields.list("list", 5, text(1, 5));
        let gone: Option<bool> = fields.required("gone", boolean);
        assert_eq!((name, n, list, gone), (None, None, vec!["a".to_owned()], None));
        let mut named: Vec<_> = fields
            .finish(None::<()>)
            .unwrap_err()
            .errors()
            .iter()
            .map(|e| (e.field.clone(), e.code))
            .collect();
        named.sort();
        let expected = [
            ("extra", "unknown"),
            ("gone", "missing"),
            ("inner.n", "wrong_type"),
            ("inner.other", "unknown"),
            ("list[1]", "wrong_type"),
            ("name", "wrong_type"),
        ];
        assert_eq!(named, expected.map(|(field, code)| (field.to_owned(), code)));
    }

    #[test]
    fn numbers_have_bounds_and_kinds() {
        assert_eq!(whole(1, 5)(&json!(5.0)), Ok(5));
        assert_eq!(whole(1, 5)(&json!(0)).unwrap_err().code, "out_of_range");
        assert_eq!(whole(1, 5)(&json!(-1)).unwrap_err().code, "out_of_range");
        assert_eq!(whole(1, 5)(&json!(1e300)).unwrap_err().code, "out_of_range");
        assert_eq!(whole(1, 5)(&json!("3")).unwrap_err().code, "wrong_type");
        assert_eq!(quantity(100, 256_000)(&json!(0.1)).unwrap().thousandths(), 100);
        assert_eq!(quantity(100, 256_000)(&json!(0.0999)).unwrap_err().code, "out_of_range");
        assert_eq!(quantity(100, 256_000)(&json!(0.12345)).unwrap_err().code, "malformed");
    }
}
