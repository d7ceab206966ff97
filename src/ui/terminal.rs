//! Plain writing for commands that are not runs: tables, lists, one error block.

use std::io::{IsTerminal, Write};

/// Writes a result on standard output. A closed pipe is not an error: the reader has seen enough.
pub fn out(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).or_else(enough)
}

/// What is left of a failed write when a reader that went away is none.
pub fn enough(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Writes a message on standard error.
pub fn err(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
}

/// Whether standard error is a terminal that understands drawing.
pub fn stderr_draws() -> bool {
    std::io::stderr().is_terminal() && !dumb()
}

/// Whether colours are welcome on standard output.
pub fn stdout_colour() -> bool {
    std::io::stdout().is_terminal() && colours_wanted()
}

/// Whether standard output and standard error are one terminal, pipe or file.
pub fn streams_are_one() -> bool {
    let [out, err] = [rustix::fs::fstat(std::io::stdout()), rustix::fs::fstat(std::io::stderr())];
    out.is_ok_and(|out| err.is_ok_and(|err| (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)))
}

/// Whether colours are welcome on standard error.
pub fn colour() -> bool {
    stderr_draws() && colours_wanted()
}

fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && !dumb()
}

fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|t| t == "dumb")
}

/// Columns that line up, two blanks apart; the last one is not padded.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (i, cell) in cells.enumerate() {
            let pad = if i + 1 < widths.len() { widths[i] + 2 - cell.chars().count() } else { 0 };
            text.push_str(cell);
            text.push_str(&" ".repeat(pad));
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut header.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let rows = [
            vec!["a".into(), "long one".into(), String::new()],
            vec!["grün".into(), "b".into(), "c".into()],
        ];
        assert_eq!(
            table(&["X", "Y", "Z"], &rows),
            "X     Y         Z\na     long one\ngrün  b         c\n"
        );
    }
}
