//! Which requests go to the canary.

use longshore_contract::Share;

const ALL: u128 = 10_000;

/// Whether request number `n` (counted from 0) goes to the side that gets `share`.
///
/// The requests are cut into strata in which exactly one request is due, and a hash of the stratum's number picks which.
/// So any run of requests has the share to within one request, and there is no period that could fall in with a
/// client's own: one that sends every second request to a bad path does not send them all to the canary.
pub(crate) fn picks(n: u64, share: Share) -> bool {
    let points = u128::from(share.points());
    if points > ALL / 2 {
        // The smaller side is the one that is picked out.
        return !picks_one_in_a_stratum(n, ALL - points);
    }
    picks_one_in_a_stratum(n, points)
}

fn picks_one_in_a_stratum(n: u64, points: u128) -> bool {
    if points == 0 {
        return false;
    }
    let stratum = u128::from(n) * points / ALL;
    let first = (stratum * ALL).div_ceil(points);
    let behind = ((stratum + 1) * ALL).div_ceil(points);
    let picked = first + u128::from(mixed(stratum as u64)) % (behind - first);
    u128::from(n) == picked
}

/// Scatters neighbouring numbers (the finaliser of splitmix64).
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(points: u16) -> Share {
        Share::basis_points(points).unwrap()
    }

    fn count(range: std::ops::Range<u64>, share: Share) -> u64 {
        range.filter(|n| picks(*n, share)).count() as u64
    }

    #[test]
    fn a_share_is_kept_to_within_one_request() {
        for points in [1, 7, 50, 500, 2500, 3333, 5000, 6667, 9500, 9999] {
            for start in [0, 1, 4001, 123_456_789, u64::MAX / 2] {
                let due = 4000 * u64::from(points) / 10_000;
                let got = count(start..start + 4000, share(points));
                assert!(got.abs_diff(due) <= 1, "{points} points from {start}: {got}, due {due}");
            }
        }
    }

    #[test]
    fn nothing_and_everything_are_exact() {
        assert_eq!(count(0..5000, Share::NONE), 0);
        assert_eq!(count(0..5000, Share::ALL), 5000);
    }

    #[test]
    fn no_client_with_a_period_of_its_own_is_all_canary() {
        for points in [500, 1000, 2500, 5000] {
            for period in 2..=40 {
                let requests = (0..40_000).step_by(period);
                let sent = requests.clone().count() as f64;
                let got = requests.filter(|n| picks(*n, share(points))).count() as f64;
                let due = share(points).fraction();
                // Six standard deviations of a fair coin of that share.
                let slack = 6.0 * (due * (1.0 - due) / sent).sqrt();
                assert!(
                    (got / sent - due).abs() <= slack,
                    "{points} points, period {period}: {}",
                    got / sent
                );
            }
        }
    }
}
