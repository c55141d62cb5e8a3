//! The answer of a query as plain text for a terminal.

use std::fmt::Write as _;

use crate::store::Table;

/// The widest line that is printed.
const WIDTH: usize = 80;
const GAP: &str = "  ";

/// The query, indented, and its answer below.
pub fn render_query(sql: &str, table: &Table) -> String {
    let mut out = String::new();
    for line in sql.lines() {
        let _ = writeln!(out, "    {line}");
    }
    out.push('\n');
    for line in render_table(table, WIDTH - 2).lines() {
        let _ = writeln!(out, "  {line}");
    }
    out
}

/// Columns side by side, cut where the line would grow too long; numbers to the right.
pub fn render_table(table: &Table, width: usize) -> String {
    let widths = widths(table, width);
    let mut out = String::new();
    let names: Vec<_> = table.columns.iter().map(|name| Some(name.clone())).collect();
    let numeric: Vec<bool> = (0..table.columns.len()).map(|column| is_numeric(table, column)).collect();
    push_row(&mut out, &names, &widths, &numeric);
    let rules: Vec<_> = widths.iter().map(|width| Some("-".repeat(*width))).collect();
    push_row(&mut out, &rules, &widths, &numeric);
    for row in &table.rows {
        push_row(&mut out, row, &widths, &numeric);
    }
    out
}

fn is_numeric(table: &Table, column: usize) -> bool {
    table
        .rows
        .iter()
        .all(|row| row.get(column).and_then(Option::as_ref).is_none_or(|value| value.parse::<f64>().is_ok()))
}

/// The widest column gives way until all fit.
fn widths(table: &Table, width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let longest =
                table.rows.iter().filter_map(|row| row.get(column)?.as_deref()).map(columns_of).max();
            columns_of(name).max(longest.unwrap_or(0)).max(1)
        })
        .collect();
    let room = width.saturating_sub(GAP.len() * widths.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > 4 => *widest -= 1,
            _ => break,
        }
    }
    widths
}

fn push_row(out: &mut String, row: &[Option<String>], widths: &[usize], numeric: &[bool]) {
    let mut line = String::new();
    for (column, width) in widths.iter().enumerate() {
        if column > 0 {
            line.push_str(GAP);
        }
        let value = row.get(column).and_then(Option::as_deref).unwrap_or("-");
        let value = cut(value, *width);
        let padding = " ".repeat(width.saturating_sub(columns_of(&value)));
        if numeric.get(column) == Some(&true) {
            line.push_str(&padding);
            line.push_str(&value);
        } else {
            line.push_str(&value);
            line.push_str(&padding);
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// At most `width` columns of the terminal, control characters made visible.
fn cut(value: &str, width: usize) -> String {
    let clean: String = value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if columns_of(&clean) <= width {
        return clean;
    }
    let mut out = String::new();
    for c in clean.chars() {
        if columns_of(&out) + column_of(c) >= width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

fn columns_of(text: &str) -> usize {
    text.chars().map(column_of).sum()
}

/// Two for the scripts that terminals write in double width, which is enough for names; combining marks do not occur in them.
const fn column_of(c: char) -> usize {
    match c {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ff60}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> Table {
        Table {
            columns: columns.iter().map(ToString::to_string).collect(),
            rows: rows.iter().map(|row| row.iter().map(|value| value.map(str::to_owned)).collect()).collect(),
        }
    }

    #[test]
    fn numbers_stand_to_the_right_and_null_is_a_dash() {
        let table = table(&["change", "consents"], &[&[Some("added"), Some("1200")], &[None, Some("9")]]);
        assert_eq!(
            render_table(&table, 80),
            "change  consents\n------  --------\nadded       1200\n-              9\n"
        );
    }

    #[test]
    fn a_long_value_is_cut_and_a_wide_script_is_counted_twice() {
        let table = table(
            &["name", "n"],
            &[&[Some("Þóra Sigurðardóttir of the far north"), Some("x")], &[Some("佐藤 美咲"), Some("y")]],
        );
        assert_eq!(
            render_table(&table, 14),
            "name         n\n-----------  -\nÞóra Sigur…  x\n佐藤 美咲    y\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let long = "x".repeat(200);
        let table = table(&["a", "b"], &[&[Some(&long), Some(&long)]]);
        let text = render_query("select 1;", &table);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
