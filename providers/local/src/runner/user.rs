//! Which user an image means.

/// A user inside an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) user: u32,
    pub(super) group: u32,
    /// The further groups it is in.
    pub(super) groups: Vec<u32>,
    /// The home directory, where `/etc/passwd` knows one.
    pub(super) home: Option<String>,
}

/// How many further groups are taken; the kernel takes more, and nobody has as many.
const GROUPS: usize = 64;

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
    let groups =
        || group.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|line| line.len() >= 3);
    let (group, further) = match (group_name, &entry) {
        (None, Some(line)) => {
            // Who names a group wants that one alone.
            let lists = |members: &str| members.split(',').any(|member| member == line[0]);
            let further = groups().filter(|group| group.get(3).is_some_and(|members| lists(members)));
            let further = further.filter_map(|group| number(group[2])).take(GROUPS).collect();
            (number(line[3]).unwrap_or(0), further)
        }
        (None, None) => (0, Vec::new()),
        (Some(wanted), _) => {
            let named = groups().find(|group| group[0] == wanted);
            let group = named.map_or_else(|| number(wanted), |group| number(group[2]));
            (group.ok_or_else(|| wanted.to_owned())?, Vec::new())
        }
    };
    let home = entry.map(|line| line[5].to_owned()).filter(|home| !home.is_empty());
    Ok(User { user, group, groups: further, home })
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
    fn further_groups_are_those_that_list_the_user_unless_one_is_named() {
        let group = "root:x:0:\nstaff:x:50:app,other\nvideo:x:44:other\nwww:x:33:app\n";
        let groups = |text: &str| resolve(text, PASSWD, group).unwrap().groups;
        assert_eq!(groups("app"), [50, 33]);
        assert_eq!(groups("1000"), [50, 33]);
        assert!(groups("app:staff").is_empty() && groups("root").is_empty() && groups("4711").is_empty());
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error() {
        assert_eq!(ids("ghost"), Err("ghost".to_owned()));
        assert_eq!(ids("app:ghosts"), Err("ghosts".to_owned()));
        assert_eq!(ids("4294967295"), Err("4294967295".to_owned()));
        assert_eq!(ids("-1"), Err("-1".to_owned()));
    }
}
