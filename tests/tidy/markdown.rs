//! Markdown files: one title, and links that lead somewhere.

use std::fs;
use std::path::Path;

/// What is wrong with the file at `path`, which findings call `name`.
pub(crate) fn findings(path: &Path, name: &str, text: &str) -> Vec<String> {
    let lines = prose(text);
    let mut found = Vec::new();
    let titles = lines
        .iter()
        .filter(|(_, line)| line.starts_with("# "))
        .count();
    if titles != 1 {
        found.push(format!("{name}:1: {titles} titles instead of one"));
    }
    for (number, line) in &lines {
        for target in links(line) {
            if !leads_somewhere(path, text, target) {
                found.push(format!("{name}:{number}: {target} leads nowhere"));
            }
        }
    }
    found
}

/// The lines outside code blocks, with their numbers and without code spans.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let outside = line.split('`').step_by(2);
            found.push((at + 1, outside.collect::<Vec<_>>().join("`")));
        }
    }
    found
}

/// The targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
}

fn leads_somewhere(path: &Path, text: &str, target: &str) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    if file.is_empty() {
        return has_anchor(text, anchor);
    }
    let file = path.parent().expect("a file has a folder").join(file);
    match fs::read_to_string(&file) {
        Ok(text) => anchor.is_empty() || has_anchor(&text, anchor),
        Err(_) => anchor.is_empty() && file.exists(),
    }
}

/// Whether a heading has this anchor, by the rule that code hosts use: lower case, spaces to
/// hyphens, punctuation left out.
fn has_anchor(text: &str, anchor: &str) -> bool {
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_');
    text.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| {
            let title = line
                .trim_start_matches('#')
                .trim()
                .to_lowercase()
                .replace(' ', "-");
            title.chars().filter(is_kept).collect::<String>() == anchor
        })
}
