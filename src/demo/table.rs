//! The answer of a query as plain text for a terminal.

use crate::store::Table;

/// The widest line that is printed.
const WIDTH: usize = 80;
const GAP: &str = "  ";

/// The query, indented, and its answer below.
pub fn render_query(sql: &str, table: &Table) -> String {
    let table = render_table(table, WIDTH - 2);
    let indent =
        |text: &str, by: &str| format!("{by}{}\n", text.trim_end().replace('\n', &format!("\n{by}")));
    format!("{}\n{}", indent(sql, "    "), indent(&table, "  "))
}

/// Columns side by side, cut where the line would grow too long; numbers to the right.
pub fn render_table(table: &Table, width: usize) -> String {
    let widths = widths(table, width);
    let head = table.columns.iter().map(|name| Some(name.clone())).collect();
    let rules = widths.iter().map(|width| Some("-".repeat(*width))).collect();
    let numeric: Vec<bool> = (0..widths.len()).map(|column| is_numeric(table, column)).collect();
    let mut out = String::new();
    for row in [head, rules].iter().chain(&table.rows) {
        push_row(&mut out, row, &widths, &numeric);
    }
    out
}

/// What stands in a column; NULL aside.
fn values(table: &Table, column: usize) -> impl Iterator<Item = &str> {
    table.rows.iter().filter_map(move |row| row.get(column)?.as_deref())
}

fn is_numeric(table: &Table, column: usize) -> bool {
    values(table, column).all(|value| value.parse::<f64>().is_ok())
}

/// The widest column gives way until all fit.
fn widths(table: &Table, width: usize) -> Vec<usize> {
    let widest = |(column, name): (usize, &String)| {
        let longest = values(table, column).map(columns_of).max().unwrap_or(0);
        columns_of(name).max(longest).max(1)
    };
    let mut widths: Vec<usize> = table.columns.iter().enumerate().map(widest).collect();
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
    let mut cells = Vec::new();
    for ((value, width), is_numeric) in row.iter().zip(widths).zip(numeric) {
        let value = cut(value.as_deref().unwrap_or("-"), *width);
        let padding = " ".repeat(width.saturating_sub(columns_of(&value)));
        cells.push(if *is_numeric { padding + &value } else { value + &padding });
    }
    out.push_str(cells.join(GAP).trim_end());
    out.push('\n');
}

/// At most `width` columns of the terminal, control characters made visible.
fn cut(value: &str, width: usize) -> String {
    let mut clean = value.replace(char::is_control, "\u{fffd}");
    if columns_of(&clean) <= width {
        return clean;
    }
    while columns_of(&clean) >= width && clean.pop().is_some() {}
    clean + "…"
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
