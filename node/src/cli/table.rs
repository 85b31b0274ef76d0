//! Plain aligned columns: two spaces between, no lines, no colours, nothing cut off.

/// Lays out rows below headings; ends with a line break.
#[must_use]
pub fn render(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| width(heading)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate().take(widths.len()) {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let mut out = String::new();
    line(&mut out, headings.iter().copied(), &widths);
    for row in rows {
        line(&mut out, row.iter().map(String::as_str), &widths);
    }
    out
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize]) {
    let start = out.len();
    for (cell, wide) in cells.zip(widths) {
        // A cell is one line; text of engines and people may have more.
        let cell =
            if cell.is_empty() { "-".to_owned() } else { cell.replace(['\n', '\r', '\t'], " ") };
        out.push_str(&cell);
        out.extend(std::iter::repeat_n(' ', wide.saturating_sub(width(&cell)) + 2));
    }
    let end = out[start..].trim_end().len() + start;
    out.truncate(end);
    out.push('\n');
}

fn width(cell: &str) -> usize {
    cell.chars().count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let rows = vec![
            vec!["a".to_owned(), String::new(), "x\ny".to_owned()],
            vec!["größer".to_owned(), "2".to_owned(), String::new()],
        ];
        let expected = "\
NAME    N  NOTE
a       -  x y
größer  2  -
";
        assert_eq!(render(&["NAME", "N", "NOTE"], &rows), expected);
    }
}
