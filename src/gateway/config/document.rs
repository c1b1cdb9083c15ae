use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, ErrorKind, Result};

/// Where a value was written, for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A line of a configuration file, counted from one.
    Line { file: Arc<str>, line: usize },
    /// A flag of the command line.
    Flag(&'static str),
}

/// A value with the place it was written at.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// A configuration file that was parsed.
pub(super) struct Document<'a> {
    file: Arc<str>,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

/// One table of a document. All of its keys are known ones.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    table: &'a DeTable<'a>,
    /// As the file has it: `[route.client]`.
    title: &'static str,
    pub(super) place: Place,
}

impl Place {
    /// A configuration error at this place.
    pub(crate) fn error(&self, text: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Config, format!("{self}: {text}"))
    }

    /// As the place reads where the file is already known: `line 12`.
    pub(super) fn within(&self) -> String {
        match self {
            Self::Line { line, .. } => format!("line {line}"),
            Self::Flag(flag) => (*flag).to_owned(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Where a value stands makes no difference to what it says: a line above it changes no route.
impl Hash for Place {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl<T> Given<T> {
    /// A value of the command line.
    pub(crate) fn flag(flag: &'static str, value: T) -> Self {
        Self {
            value,
            place: Place::Flag(flag),
        }
    }
}

impl<'a> Document<'a> {
    pub(super) fn parse(path: &Path, text: &'a str) -> Result<Self> {
        let file: Arc<str> = path.display().to_string().into();
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { file, text, root }),
            Err(error) => {
                let line = line_of(text, error.span().unwrap_or_default());
                let message = error.message().replace('\n', ", ");
                Err(Place::Line { file, line }.error(message))
            }
        }
    }

    /// The whole file as a table with these keys.
    pub(super) fn root(&'a self, keys: &[&str]) -> Result<Section<'a>> {
        let place = self.place(self.root.span());
        Section::new(self, self.root.get_ref(), "the file", place, keys)
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place::Line {
            file: self.file.clone(),
            line: line_of(self.text, span),
        }
    }
}

impl<'a> Section<'a> {
    fn new(
        document: &'a Document<'a>,
        table: &'a DeTable<'a>,
        title: &'static str,
        place: Place,
        keys: &[&str],
    ) -> Result<Self> {
        let first_unknown = table
            .keys()
            .filter(|key| !keys.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        if let Some(key) = first_unknown {
            let name = key.get_ref();
            let hint = match nearest(name, keys) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known keys: {}", keys.join(", ")),
            };
            let place = document.place(key.span());
            return Err(place.error(format!("unknown key {name:?} in {title}; {hint}")));
        }
        Ok(Self {
            document,
            table,
            title,
            place,
        })
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<Given<String>>> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        self.string(key, value).map(Some)
    }

    /// A list of strings; empty where the key is absent.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<Given<String>>> {
        let Some(value) = self.table.get(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong_type(key, value, "a list of strings"));
        };
        items.iter().map(|item| self.string(key, item)).collect()
    }

    /// A string, or a list of strings; empty where the key is absent.
    pub(super) fn one_or_more(&self, key: &str) -> Result<Vec<Given<String>>> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(_)) => self.texts(key),
            _ => Ok(self.text(key)?.into_iter().collect()),
        }
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<Given<bool>>> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Boolean(given) => Ok(Some(Given {
                value: *given,
                place: self.document.place(value.span()),
            })),
            _ => Err(self.wrong_type(key, value, "true or false")),
        }
    }

    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Given<u64>>> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value.get_ref() else {
            return Err(self.wrong_type(key, value, &expected));
        };
        let place = self.document.place(value.span());
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) if range.contains(&value) => Ok(Some(Given { value, place })),
            _ => {
                let title = self.title;
                Err(place.error(format!("{key} = {number} in {title} is not {expected}")))
            }
        }
    }

    /// A table below this one.
    pub(super) fn table(
        &self,
        key: &str,
        title: &'static str,
        keys: &[&str],
    ) -> Result<Option<Self>> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong_type(key, value, &format!("a table, {title}")));
        };
        let place = self.document.place(value.span());
        Section::new(self.document, table, title, place, keys).map(Some)
    }

    /// A list of tables below this one, in the order of the file.
    pub(super) fn tables(
        &self,
        key: &str,
        title: &'static str,
        keys: &[&str],
    ) -> Result<Vec<Self>> {
        let Some(value) = self.table.get(key) else {
            return Ok(Vec::new());
        };
        let wrong = |value| self.wrong_type(key, value, &format!("a list of tables, {title}"));
        let DeValue::Array(items) = value.get_ref() else {
            return Err(wrong(value));
        };
        let section = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::Table(table) => {
                let place = self.document.place(item.span());
                Section::new(self.document, table, title, place, keys)
            }
            _ => Err(wrong(item)),
        };
        items.iter().map(section).collect()
    }

    fn string(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Given<String>> {
        match value.get_ref() {
            DeValue::String(text) => Ok(Given {
                value: text.clone().into_owned(),
                place: self.document.place(value.span()),
            }),
            _ => Err(self.wrong_type(key, value, "a string")),
        }
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> Error {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let title = self.title;
        self.document
            .place(value.span())
            .error(format!("{key} in {title} must be {expected}, not {found}"))
    }
}

/// The candidate that `word` was probably meant to be.
pub(super) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    candidates
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(span.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// Likeness (0 to 1) from which on a known key is suggested for an unknown one: below it,
/// suggestions of unrelated words begin.
const LIKENESS_MIN: f64 = 0.8;
