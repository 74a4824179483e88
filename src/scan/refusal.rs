//! A refused image as people read it: the reason, and the worst findings in a small table.

use std::fmt;

use longshore_contract::ScanFinding;

/// How many findings the table has.
const ROWS: usize = 8;

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason in one line.
    pub why: String,
    /// The worst of the findings that are refused; none where there is no scan to show.
    pub worst: Vec<ScanFinding>,
    /// How many are refused in all.
    pub stopping: u32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        let shown = &self.worst[..self.worst.len().min(ROWS)];
        let cells: Vec<[String; 4]> = shown.iter().map(cells).collect();
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for [severity, id, package, link] in &cells {
            let [a, b, c] = widths;
            let line = format!("  {severity:a$}  {id:b$}  {package:c$}  {link}");
            write!(f, "\n{}", line.trim_end())?;
        }
        match self.stopping as usize - shown.len().min(self.stopping as usize) {
            rest if rest > 0 && !shown.is_empty() => write!(f, "\n  and {rest} more"),
            _ => Ok(()),
        }
    }
}

fn cells(finding: &ScanFinding) -> [String; 4] {
    let fix = match &finding.fixed {
        Some(fixed) => format!("-> {}", line(fixed)),
        None => "(no fix)".to_owned(),
    };
    let words = [line(&finding.package), line(&finding.installed), fix];
    let package = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let link = finding.link.as_deref().map(line).unwrap_or_default();
    [finding.severity.word().to_owned(), line(&finding.id), package, link]
}

/// A scanner's text on one line and without what a terminal would act on.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use longshore_contract::ScanSeverity;

    use super::*;

    #[test]
    fn the_worst_stand_in_columns_and_the_rest_are_counted() {
        let finding = |id: &str, fixed: Option<&str>| ScanFinding {
            id: id.to_owned(),
            severity: ScanSeverity::High,
            stated: "HIGH".to_owned(),
            package: "openssl".to_owned(),
            installed: "3.0.1".to_owned(),
            fixed: fixed.map(str::to_owned),
            link: Some(format!("https://example.org/{id}")),
        };
        let refusal = Refusal {
            why: "3 findings".to_owned(),
            worst: vec![finding("CVE-2025-1", Some("3.0.2")), finding("CVE-2025-22\u{1b}[31m", None)],
            stopping: 3,
        };
        assert_eq!(
            refusal.to_string(),
            "3 findings\n  high  CVE-2025-1        openssl 3.0.1 -> 3.0.2  https://example.org/CVE-2025-1\n  \
             high  CVE-2025-22 [31m  openssl 3.0.1 (no fix)  https://example.org/CVE-2025-22 [31m\n  and 1 more"
        );
        let absent = Refusal { why: "there is no scan to show".to_owned(), worst: Vec::new(), stopping: 0 };
        assert_eq!(absent.to_string(), "there is no scan to show");
    }
}
