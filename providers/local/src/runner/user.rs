//! Which user an image means.

/// A user inside an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) user: u32,
    pub(super) group: u32,
    /// The home directory, where `/etc/passwd` knows one.
    pub(super) home: Option<String>,
}

/// Reads `USER[:GROUP]`, in names or numbers, with the image's own `/etc/passwd` and `/etc/group`. Nothing means root.
/// An error is the name that nobody there has.
pub(super) fn resolve(text: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (name, group_name) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let lines =
        || passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|line| line.len() >= 6);
    let by_name = || lines().find(|line| line[0] == name);
    let by_number = || lines().find(|line| line[2] == name);
    // A name made of digits is a number, unless somebody is really called that.
    let entry = by_name().or_else(by_number);
    let user = match &entry {
        Some(line) => number(line[2]),
        None => number(name),
    };
    let user = user.ok_or_else(|| name.to_owned())?;
    let group = match (group_name, &entry) {
        (None, Some(line)) => number(line[3]).unwrap_or(0),
        (None, None) => 0,
        (Some(wanted), _) => group
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|line| line.len() >= 3 && line[0] == wanted)
            .map_or_else(|| number(wanted), |line| number(line[2]))
            .ok_or_else(|| wanted.to_owned())?,
    };
    let home = entry.map(|line| line[5].to_owned()).filter(|home| !home.is_empty());
    Ok(User { user, group, home })
}

/// A user or group number; the highest one means nobody in the kernel's interface.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001:App:/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app\n";

    fn ids(text: &str) -> Result<(u32, u32), String> {
        resolve(text, PASSWD, GROUP).map(|user| (user.user, user.group))
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(ids(""), Ok((0, 0)));
        assert_eq!(ids("app"), Ok((1000, 1001)));
        assert_eq!(ids("1000"), Ok((1000, 1001)));
        assert_eq!(ids("app:staff"), Ok((1000, 50)));
        assert_eq!(ids("app:7"), Ok((1000, 7)));
        assert_eq!(ids("1234"), Ok((1234, 0)));
        assert_eq!(ids("1234:1234"), Ok((1234, 1234)));
        assert_eq!(ids("app:"), Ok((1000, 1001)));
        assert_eq!(resolve("app", PASSWD, GROUP).unwrap().home.as_deref(), Some("/home/app"));
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error() {
        assert_eq!(ids("ghost"), Err("ghost".to_owned()));
        assert_eq!(ids("app:ghosts"), Err("ghosts".to_owned()));
        assert_eq!(ids("4294967295"), Err("4294967295".to_owned()));
        assert_eq!(ids("-1"), Err("-1".to_owned()));
    }
}
