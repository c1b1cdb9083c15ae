//! As much of Rust's grammar as the rules need: tokens without comments and strings, paths,
//! functions.

use std::collections::BTreeMap;

/// A Rust file, cut up.
pub(crate) struct Source<'a> {
    /// Relative to the package, with slashes.
    pub(crate) path: String,
    pub(crate) text: &'a str,
    pub(crate) tokens: Vec<Token<'a>>,
    /// Every path in code: `a::{b, c::d}` is two of them.
    pub(crate) paths: Vec<ModPath<'a>>,
    /// Comments by line.
    comments: BTreeMap<usize, &'a str>,
}

/// An identifier, a number, `::`, a string (as `"`), or one character of punctuation.
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// A path as it is written, with groups expanded.
pub(crate) struct ModPath<'a> {
    pub(crate) segments: Vec<&'a str>,
    pub(crate) line: usize,
    /// How many inline modules enclose it.
    depth: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &str, text: &'a str) -> Self {
        let mut lexer = Lexer::new(text);
        while lexer.step() {}
        let paths = paths(&lexer.tokens);
        Self {
            path: path.to_owned(),
            text,
            paths,
            tokens: lexer.tokens,
            comments: lexer.comments,
        }
    }

    /// The paths that start at the root of the library, without the part that leads there.
    pub(crate) fn paths_from_crate_root(&self) -> Vec<ModPath<'a>> {
        let module_depth = self.module_depth();
        let from_root = |path: &ModPath<'a>| {
            let supers = path
                .segments
                .iter()
                .take_while(|part| **part == "super")
                .count();
            let skipped = match path.segments[0] {
                "crate" | "sealwire" => 1,
                "super" if supers == module_depth + path.depth => supers,
                _ => return None,
            };
            let segments = path.segments[skipped..].to_vec();
            (!segments.is_empty()).then_some(ModPath { segments, ..*path })
        };
        self.paths.iter().filter_map(from_root).collect()
    }

    /// Name, first line and last line of each function that has a body.
    pub(crate) fn functions(&self) -> Vec<(&'a str, usize, usize)> {
        let mut found = Vec::new();
        for (at, pair) in self.tokens.windows(2).enumerate() {
            if pair[0].text != "fn" || !pair[1].text.starts_with(is_word) {
                continue;
            }
            if let Some(open) = body(&self.tokens, at) {
                let close = closing(&self.tokens, open);
                found.push((pair[1].text, pair[0].line, self.tokens[close].line));
            }
        }
        found
    }

    /// Whether the comment on this line, or the one that stands above its statement, contains
    /// `note`.
    pub(crate) fn has_note_above(&self, line: usize, note: &str) -> bool {
        let lines = self.text.lines().collect::<Vec<_>>();
        for above in (1..=line).rev() {
            if let Some(comment) = self.comments.get(&above) {
                if comment.contains(note) {
                    return true;
                }
                continue;
            }
            let ends_statement = lines[above - 1].trim_end().ends_with([';', '{', '}']);
            if above < line && ends_statement {
                return false;
            }
        }
        false
    }

    /// How many `super`s lead from the file's own module to the root of the library.
    fn module_depth(&self) -> usize {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let parts = inside.split('/').count();
        if inside.ends_with("/mod") {
            parts - 1
        } else {
            parts
        }
    }
}

/// Whether `text` contains `word` with no letter, digit or underscore beside it.
pub(crate) fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let edge = |side: Option<char>, inner: bool| !inner || !side.is_some_and(is_word);
        edge(before, word.starts_with(is_word)) && edge(after, word.ends_with(is_word))
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The index of the `{` that opens the body of the function at `at`; none for a declaration.
fn body(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "{" if depth == 0 => return Some(index),
            ";" if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The index of the `}` that closes the `{` at `open`.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" => depth += 1,
            "}" if depth == 1 => return index,
            "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.len() - 1
}

fn paths<'a>(tokens: &[Token<'a>]) -> Vec<ModPath<'a>> {
    let mut found = Vec::new();
    let mut modules_end = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        modules_end.retain(|end| *end > at);
        let opens_module = tokens[at].text == "mod" && text(tokens, at + 2) == "{";
        if opens_module {
            modules_end.push(closing(tokens, at + 2));
        }
        if tokens[at].text.starts_with(is_word) {
            at = expand(tokens, at, &[], modules_end.len(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads the path at `at` behind `prefix`, and gives the index behind it.
fn expand<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    depth: usize,
    found: &mut Vec<ModPath<'a>>,
) -> usize {
    let line = tokens[at].line;
    let mut segments = prefix.to_vec();
    segments.push(tokens[at].text);
    at += 1;
    while text(tokens, at) == "::" {
        at += 1;
        if text(tokens, at) == "{" {
            at += 1;
            while at < tokens.len() && tokens[at].text != "}" {
                at = match tokens[at].text.starts_with(is_word) {
                    true => expand(tokens, at, &segments, depth, found),
                    false => at + 1,
                };
            }
            return at + 1;
        }
        if !text(tokens, at).starts_with(is_word) {
            break;
        }
        segments.push(tokens[at].text);
        at += 1;
    }
    found.push(ModPath {
        segments,
        line,
        depth,
    });
    at
}

fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token<'a>>,
    comments: BTreeMap<usize, &'a str>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            line: 1,
            tokens: Vec::new(),
            comments: BTreeMap::new(),
        }
    }

    /// Takes one token, comment or stretch of space; false at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else {
            return false;
        };
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            c if c.is_whitespace() => self.skip(first.len_utf8()),
            '/' if second == Some('/') => self.comment(rest.find('\n').unwrap_or(rest.len())),
            '/' if second == Some('*') => self.comment(block_comment_len(rest)),
            '"' => self.string(string_len(rest)),
            '\'' => match char_len(rest) {
                Some(len) => self.string(len),
                None => self.skip(1),
            },
            c if is_word(c) => self.word(),
            ':' if second == Some(':') => self.token(2),
            _ => self.token(first.len_utf8()),
        }
        true
    }

    fn word(&mut self) {
        let len = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, behind) = self.rest.split_at(len);
        match word {
            "r" | "br" | "cr" if raw_string_len(behind).is_some() => {
                self.string(len + raw_string_len(behind).unwrap_or(0));
            }
            "b" | "c" if behind.starts_with('"') => self.string(len + string_len(behind)),
            "b" if behind.starts_with('\'') => self.string(len + char_len(behind).unwrap_or(0)),
            _ => self.token(len),
        }
    }

    fn token(&mut self, len: usize) {
        self.tokens.push(Token {
            text: &self.rest[..len],
            line: self.line,
        });
        self.skip(len);
    }

    fn string(&mut self, len: usize) {
        self.tokens.push(Token {
            text: "\"",
            line: self.line,
        });
        self.skip(len);
    }

    fn comment(&mut self, len: usize) {
        for (at, line) in self.rest[..len].split('\n').enumerate() {
            self.comments.insert(self.line + at, line);
        }
        self.skip(len);
    }

    fn skip(&mut self, len: usize) {
        let (skipped, rest) = self.rest.split_at(len);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of what follows the `r` of a raw string; none where it is a raw identifier or a mere
/// name.
fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text.find(|c| c != '#')?;
    if !text[hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", &text[..hashes]);
    let start = hashes + 1;
    let found = text[start..].find(&end).map(|at| start + at + end.len());
    Some(found.unwrap_or(text.len()))
}

/// The length of a character literal; none where the quote opens a lifetime.
fn char_len(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        let (escaped, _) = chars.next()?;
        let from = escaped + 1;
        return text[from..].find('\'').map(|at| from + at + 1);
    }
    match chars.next()? {
        (at, '\'') => Some(at + 1),
        _ => None,
    }
}
