//! Reads paths and regular expressions.
//!
//! Expressions run in Envoy, by RE2, for the whole value. What this accepts is the part that RE2
//! and the `regex` crate read alike, so that checks and tests here tell what Envoy will do.

use regex_syntax::{
    ast::{self, Ast, ClassUnicodeKind, GroupKind, RepetitionKind, RepetitionRange},
    hir::literal::Extractor,
};

use super::{
    reader::{Node, Read},
    scalar::text,
};
use crate::limits::{MAX_PATH_BYTES, MAX_REGEX_BYTES, MAX_REGEX_COMPILED_BYTES, MAX_REGEX_REPEAT};

/// The nesting of groups in an expression.
const MAX_NESTING: u32 = 50;

/// Reads a path without a query.
pub(crate) fn plain_path(node: &Node<'_>) -> Read<String> {
    let path = text(node)?;
    check_path(node, path)?;
    Ok(path.to_owned())
}

/// Reads a path prefix: whole segments, so it ends without `/` (but for `/` itself).
pub(crate) fn prefix(node: &Node<'_>) -> Read<String> {
    let path = plain_path(node)?;
    if path.len() > 1 && path.ends_with('/') {
        let whole = path.trim_end_matches('/');
        let remedy = format!("write {whole}, which matches {whole} and {path}…");
        return Err(node.error("ends with /; a prefix matches whole segments", remedy));
    }
    Ok(path)
}

/// Reads a path that a query may follow.
pub(crate) fn target_path(node: &Node<'_>) -> Read<String> {
    let target = text(node)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    check_path(node, path)?;
    if query.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') || target.len() > MAX_PATH_BYTES {
        return Err(node.error("has an invalid query", "write printable ASCII without #"));
    }
    Ok(target.to_owned())
}

fn check_path(node: &Node<'_>, path: &str) -> Read<()> {
    let remedy = "write a path such as /cart/items";
    if !path.starts_with('/') {
        return Err(node.error("does not begin with /", remedy));
    }
    if path.len() > MAX_PATH_BYTES {
        let message = format!("has {} characters", path.len());
        return Err(node.error(message, format!("write at most {MAX_PATH_BYTES}")));
    }
    if path.contains('?') {
        return Err(node.error("has a query", "match query parameters by query: […]"));
    }
    if path.contains('#') {
        return Err(node.error("has a fragment, which no client sends", remedy));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b);
    if let Some(bad) = path.chars().find(|c| !u8::try_from(*c).is_ok_and(plain)) {
        let message = format!("holds the character {bad:?}");
        return Err(node.error(message, "write it percent-encoded, as clients send it"));
    }
    let encoded =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if path.split('%').skip(1).any(|rest| !encoded(rest)) {
        return Err(node.error("has a % without two hexadecimal digits", "write %25 for a %"));
    }
    if path.contains("//") || path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(node.error("has an empty, . or .. segment", "write the normalized path"));
    }
    Ok(())
}

/// Reads a regular expression for a whole value.
pub(crate) fn regex(node: &Node<'_>) -> Read<String> {
    checked_regex(node).map(|(text, _)| text)
}

/// Reads a regular expression for a whole path.
pub(crate) fn path_regex(node: &Node<'_>) -> Read<String> {
    let (text, ast) = checked_regex(node)?;
    let hir = regex_syntax::hir::translate::Translator::new().translate(&text, &ast);
    let begins = hir.ok().map(|hir| Extractor::new().extract(&hir));
    let never = begins.as_ref().and_then(|seq| seq.literals()).is_some_and(|literals| {
        literals.iter().all(|l| l.as_bytes().first().is_some_and(|b| *b != b'/'))
    });
    if never {
        let remedy = "begin it with /; it must match the whole path";
        return Err(node.error("matches no path, since every path begins with /", remedy));
    }
    Ok(text)
}

/// Compiles an expression for whole values; none when it is not valid.
pub(crate) fn whole_match(regex: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(&format!("^(?:{regex})$"))
        .size_limit(MAX_REGEX_COMPILED_BYTES)
        .nest_limit(MAX_NESTING + 2)
        .build()
}

fn checked_regex(node: &Node<'_>) -> Read<(String, Ast)> {
    let text = text(node)?;
    if text.is_empty() {
        return Err(node.error("is empty", "write a regular expression in RE2 syntax"));
    }
    if text.len() > MAX_REGEX_BYTES {
        let message = format!("has {} bytes", text.len());
        return Err(node.error(message, format!("write at most {MAX_REGEX_BYTES}")));
    }
    let mut parser = ast::parse::ParserBuilder::new().nest_limit(MAX_NESTING).build();
    let ast = parser.parse(text).map_err(|error| {
        let message = format!(
            "is not a regular expression: {} at {}",
            error.kind(),
            error.span().start.offset
        );
        node.error(message, "correct it; the syntax is that of RE2")
    })?;
    if let Err(foreign) = ast::visit(&ast, ForeignToRe2) {
        let message = format!("holds {foreign}");
        return Err(node.error(message, "write it in the syntax of RE2"));
    }
    match whole_match(text) {
        Ok(_) => Ok((text.to_owned(), ast)),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(node.error("is too large when compiled", "use fewer or smaller repetitions"))
        }
        Err(error) => {
            let message = format!("is not a regular expression: {}", last_line(&error.to_string()));
            Err(node.error(message, "correct it; the syntax is that of RE2"))
        }
    }
}

/// Takes the reason from the several lines in which the crate draws the place of an error.
fn last_line(error: &str) -> &str {
    let line = error.lines().last().unwrap_or(error);
    line.strip_prefix("error: ").unwrap_or(line)
}

/// Finds what the `regex` crate reads and RE2 refuses or reads in another way.
struct ForeignToRe2;

impl ast::Visitor for ForeignToRe2 {
    type Output = ();
    type Err = &'static str;

    fn finish(self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::Flags(flags) => known_flags(&flags.flags),
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(flags) => known_flags(flags),
                GroupKind::CaptureIndex(_) | GroupKind::CaptureName { .. } => Ok(()),
            },
            Ast::Repetition(repetition) => known_repetition(&repetition.op.kind),
            Ast::Assertion(assertion) => match assertion.kind {
                ast::AssertionKind::StartLine
                | ast::AssertionKind::EndLine
                | ast::AssertionKind::StartText
                | ast::AssertionKind::EndText
                | ast::AssertionKind::WordBoundary
                | ast::AssertionKind::NotWordBoundary => Ok(()),
                _ => Err("a word boundary that RE2 does not know"),
            },
            Ast::Literal(literal) => known_literal(literal),
            Ast::ClassUnicode(class) => known_class(class),
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ast::ClassSetItem::Bracketed(_) => Err("a class within a class; write \\[ for a ["),
            ast::ClassSetItem::Literal(literal) => known_literal(literal),
            ast::ClassSetItem::Range(range) => {
                known_literal(&range.start).and_then(|()| known_literal(&range.end))
            }
            ast::ClassSetItem::Unicode(class) => known_class(class),
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        _: &ast::ClassSetBinaryOp,
    ) -> Result<(), Self::Err> {
        Err("an operation on classes (&&, -- or ~~)")
    }
}

fn known_flags(flags: &ast::Flags) -> Result<(), &'static str> {
    let known = flags.items.iter().all(|item| match item.kind {
        ast::FlagsItemKind::Negation => true,
        ast::FlagsItemKind::Flag(flag) => matches!(
            flag,
            ast::Flag::CaseInsensitive
                | ast::Flag::MultiLine
                | ast::Flag::DotMatchesNewLine
                | ast::Flag::SwapGreed
        ),
    });
    if known { Ok(()) } else { Err("a flag other than i, m, s and U") }
}

fn known_repetition(kind: &RepetitionKind) -> Result<(), &'static str> {
    let RepetitionKind::Range(range) = kind else { return Ok(()) };
    let (RepetitionRange::Exactly(most)
    | RepetitionRange::AtLeast(most)
    | RepetitionRange::Bounded(_, most)) = range;
    if *most <= MAX_REGEX_REPEAT { Ok(()) } else { Err("a repetition of more than 1000") }
}

fn known_literal(literal: &ast::Literal) -> Result<(), &'static str> {
    match &literal.kind {
        ast::LiteralKind::HexFixed(kind) | ast::LiteralKind::HexBrace(kind)
            if *kind != ast::HexLiteralKind::X =>
        {
            Err("\\u or \\U; write \\x{…}")
        }
        ast::LiteralKind::Superfluous => Err("a needless \\ before a letter or sign"),
        _ => Ok(()),
    }
}

fn known_class(class: &ast::ClassUnicode) -> Result<(), &'static str> {
    let known = match &class.kind {
        ClassUnicodeKind::OneLetter(_) => true,
        ClassUnicodeKind::Named(name) => {
            name.len() == 2
                || matches!(
                    name.as_str(),
                    "Latin"
                        | "Greek"
                        | "Cyrillic"
                        | "Han"
                        | "Arabic"
                        | "Hebrew"
                        | "Hiragana"
                        | "Katakana"
                        | "Hangul"
                        | "Thai"
                        | "Devanagari"
                )
        }
        ClassUnicodeKind::NamedValue { .. } => false,
    };
    if known { Ok(()) } else { Err("a Unicode class that RE2 may not know") }
}
