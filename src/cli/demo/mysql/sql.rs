/// What a statement comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ok,
    Rows {
        columns: Vec<String>,
        rows: Vec<Vec<Option<String>>>,
    },
    Error {
        code: u16,
        sql_state: [u8; 5],
        message: String,
    },
}

/// What statements can ask of the session they are sent in.
pub(super) struct Context<'a> {
    pub(super) user: &'a str,
    pub(super) database: Option<&'a str>,
    pub(super) thread_id: u32,
}

/// Answers SELECTs of literals, of system variables and of a few functions, SHOW STATUS and SHOW
/// VARIABLES with LIKE, and takes SET and the ends of transactions for done.
pub(super) fn answer(statement: &str, context: &Context<'_>) -> Answer {
    let statement = statement.trim().trim_end_matches(';').trim_end();
    let (verb, rest) = first_word(statement);
    match verb.as_str() {
        "select" => select(rest, context),
        "show" => show(rest),
        "set" | "begin" | "commit" | "rollback" => Answer::Ok,
        _ => not_spoken(statement),
    }
}

fn select(list: &str, context: &Context<'_>) -> Answer {
    let list = without_limit(list);
    let (mut columns, mut row) = (Vec::new(), Vec::new());
    for item in split(list) {
        let (expression, alias) = alias(item.trim());
        match evaluate(expression, context) {
            Ok(value) => row.push(value),
            Err(error) => return error,
        }
        columns.push(alias.unwrap_or(expression).to_owned());
    }
    Answer::Rows {
        columns,
        rows: vec![row],
    }
}

fn evaluate(expression: &str, context: &Context<'_>) -> Result<Option<String>, Answer> {
    if let Some(text) = literal(expression) {
        return Ok(Some(text));
    }
    if let Some(variable) = expression.strip_prefix("@@") {
        let name = variable.to_ascii_lowercase();
        let name = name.strip_prefix("session.").unwrap_or(&name);
        let name = name.strip_prefix("global.").unwrap_or(name);
        let known = VARIABLES.iter().find(|(known, _)| *known == name);
        return match known {
            Some((_, value)) => Ok(Some((*value).into())),
            None => Err(Answer::Error {
                code: 1193,
                sql_state: *b"HY000",
                message: format!("Unknown system variable '{name}'"),
            }),
        };
    }
    let is_number = !expression.is_empty() && expression.bytes().all(|b| b.is_ascii_digit());
    match expression.to_ascii_lowercase().as_str() {
        _ if is_number => Ok(Some(expression.into())),
        "null" => Ok(None),
        "version()" => Ok(Some(VERSION.into())),
        "connection_id()" => Ok(Some(context.thread_id.to_string())),
        "database()" | "schema()" => Ok(context.database.map(str::to_owned)),
        "user()" | "current_user()" => Ok(Some(format!("{}@localhost", context.user))),
        _ => Err(not_spoken(expression)),
    }
}

/// The server itself is reached without TLS, which the gateway before it adds: it says so, as any
/// server behind a gateway does.
fn show(rest: &str) -> Answer {
    let (mut what, mut rest) = first_word(rest);
    if matches!(what.as_str(), "session" | "global") {
        (what, rest) = first_word(rest);
    }
    let known = match what.as_str() {
        "status" => STATUS,
        "variables" => VARIABLES,
        "warnings" => &[],
        _ => return not_spoken(rest),
    };
    let (like, pattern) = first_word(rest);
    let pattern = match (like.as_str(), literal(pattern)) {
        ("", _) => "%".into(),
        ("like", Some(pattern)) => pattern,
        _ => return not_spoken(rest),
    };
    let rows = known
        .iter()
        .filter(|(name, _)| is_like(name.as_bytes(), pattern.as_bytes()))
        .map(|(name, value)| vec![Some((*name).into()), Some((*value).into())])
        .collect();
    Answer::Rows {
        columns: vec!["Variable_name".into(), "Value".into()],
        rows,
    }
}

fn not_spoken(text: &str) -> Answer {
    let text: String = text.chars().take(80).collect();
    Answer::Error {
        code: 1064,
        sql_state: *b"42000",
        message: format!("the demo's server does not know this statement, at '{text}'"),
    }
}

/// The first word in small letters, and what follows it.
fn first_word(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word.to_ascii_lowercase(), rest.trim_start())
}

/// What a quoted text stands for, where all of `text` is one.
fn literal(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|quote| "'\"".contains(*quote))?;
    let (mut value, mut rest) = (String::new(), text[1..].chars());
    loop {
        match rest.next()? {
            '\\' => value.push(rest.next()?),
            c if c == quote && rest.as_str().starts_with(quote) => value.extend(rest.next()),
            c if c == quote => return rest.as_str().is_empty().then_some(value),
            c => value.push(c),
        }
    }
}

/// The items of a list: commas in quotes or parentheses part nothing.
fn split(list: &str) -> Vec<&str> {
    let (mut items, mut from, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    let mut is_escaped = false;
    for (at, c) in list.char_indices() {
        match (quote, c) {
            _ if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                items.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[from..]);
    items
}

/// Parts `'x' AS name`, where the name is a plain word.
fn alias(item: &str) -> (&str, Option<&str>) {
    let is_word = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let Some((rest, name)) = item.rsplit_once(char::is_whitespace) else {
        return (item, None);
    };
    let Some((expression, r#as)) = rest.trim_end().rsplit_once(char::is_whitespace) else {
        return (item, None);
    };
    match r#as.eq_ignore_ascii_case("as") && is_word(name) {
        true => (expression.trim_end(), Some(name)),
        false => (item, None),
    }
}

/// Whatever is selected here is one row, so that a LIMIT above zero changes nothing.
fn without_limit(list: &str) -> &str {
    let Some((rest, count)) = list.rsplit_once(char::is_whitespace) else {
        return list;
    };
    let Some((before, limit)) = rest.trim_end().rsplit_once(char::is_whitespace) else {
        return list;
    };
    let is_count = count.bytes().all(|b| b.is_ascii_digit()) && count != "0";
    match limit.eq_ignore_ascii_case("limit") && is_count {
        true => before.trim_end(),
        false => list,
    }
}

/// LIKE without regard to case: `%` stands for any text, `_` for any character.
fn is_like(name: &[u8], pattern: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'%', pattern @ ..], _) => {
            (0..=name.len()).any(|from| is_like(name.get(from..).unwrap_or_default(), pattern))
        }
        ([b'_', pattern @ ..], [_, name @ ..]) => is_like(name, pattern),
        ([p, pattern @ ..], [n, name @ ..]) => p.eq_ignore_ascii_case(n) && is_like(name, pattern),
        _ => false,
    }
}

/// What the server calls itself. A version of MySQL, by which drivers choose what they send.
pub(super) const VERSION: &str = concat!("8.0.36-sealwire-demo-", env!("CARGO_PKG_VERSION"));

const VARIABLES: &[(&str, &str)] = &[
    ("auto_increment_increment", "1"),
    ("autocommit", "1"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_database", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("character_set_server", "utf8mb4"),
    ("collation_connection", "utf8mb4_general_ci"),
    ("init_connect", ""),
    ("interactive_timeout", "28800"),
    ("lower_case_table_names", "0"),
    ("max_allowed_packet", "1048576"),
    ("performance_schema", "0"),
    ("sql_mode", ""),
    ("system_time_zone", "UTC"),
    ("time_zone", "SYSTEM"),
    ("transaction_isolation", "REPEATABLE-READ"),
    ("tx_isolation", "REPEATABLE-READ"),
    ("version", VERSION),
    ("version_comment", "Sealwire demo"),
    ("wait_timeout", "28800"),
];

const STATUS: &[(&str, &str)] = &[
    ("Ssl_cipher", ""),
    ("Ssl_cipher_list", ""),
    ("Ssl_version", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context<'_> = Context {
        user: "demo",
        database: None,
        thread_id: 7,
    };

    fn rows(statement: &str) -> Vec<Vec<Option<String>>> {
        match answer(statement, &CONTEXT) {
            Answer::Rows { rows, .. } => rows,
            other => panic!("{statement}: {other:?}"),
        }
    }

    fn cell(statement: &str) -> Option<String> {
        let [row] = <[_; 1]>::try_from(rows(statement)).unwrap();
        let [cell] = <[_; 1]>::try_from(row).unwrap();
        cell
    }

    #[test]
    fn literals_are_what_they_stand_for() {
        assert_eq!(cell("SELECT 1;"), Some("1".into()));
        assert_eq!(cell("select 'it''s' as x limit 1"), Some("it's".into()));
        assert_eq!(cell(r#"SELECT "a,\"(b""#), Some("a,\"(b".into()));
        assert_eq!(cell("SELECT NULL"), None);
        assert_eq!(
            rows("select 'a, b', 2 , database(), user()"),
            [[
                Some("a, b".into()),
                Some("2".into()),
                None,
                Some("demo@localhost".into())
            ]]
        );
    }

    #[test]
    fn columns_are_called_as_they_are_written() {
        let Answer::Rows { columns, .. } = answer("SELECT 'x' AS name, VERSION()", &CONTEXT) else {
            panic!("no rows");
        };
        assert_eq!(columns, ["name", "VERSION()"]);
    }

    #[test]
    fn variables_are_known_or_named() {
        assert_eq!(cell("SELECT @@version"), Some(VERSION.into()));
        assert_eq!(cell("SELECT @@SESSION.autocommit"), Some("1".into()));
        let Answer::Error { code, message, .. } = answer("SELECT @@nonsense", &CONTEXT) else {
            panic!("no error");
        };
        assert_eq!(
            (code, &*message),
            (1193, "Unknown system variable 'nonsense'")
        );
    }

    #[test]
    fn show_status_takes_patterns() {
        let names = |statement| -> Vec<_> {
            let rows = rows(statement);
            rows.into_iter().filter_map(|row| row[0].clone()).collect()
        };
        let all = ["Ssl_cipher", "Ssl_cipher_list", "Ssl_version"];
        assert_eq!(names("SHOW STATUS LIKE 'Ssl%'"), all);
        assert_eq!(names("show session status like 'ssl_versio_'"), all[2..]);
        assert_eq!(names("SHOW STATUS LIKE 'Ssl'"), [""; 0]);
    }

    #[test]
    fn what_is_not_known_is_an_error_that_says_where() {
        for statement in ["DROP TABLE t", "SELECT a FROM t", "", "SELECT 'a"] {
            let Answer::Error { code, .. } = answer(statement, &CONTEXT) else {
                panic!("{statement} was answered");
            };
            assert_eq!(code, 1064, "{statement}");
        }
    }
}
