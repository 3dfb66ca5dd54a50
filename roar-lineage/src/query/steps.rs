//! Numbers for people: consumers after their producers, a cycle as one group by start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An order of `0..count` in which every edge points forward, but for those in a cycle.
/// `rank` tells which of two that could both come next is the first.
pub(super) fn order(rank: &[usize], edges: &[(usize, usize)]) -> Vec<usize> {
    let count = rank.len();
    let mut next = vec![Vec::new(); count];
    for &(from, to) in edges {
        next[from].push(to);
    }
    let groups = components(&next);
    let mut group_of = vec![0; count];
    for (number, members) in groups.iter().enumerate() {
        for &member in members {
            group_of[member] = number;
        }
    }
    let mut missing = vec![0usize; groups.len()];
    for &(from, to) in edges {
        if group_of[from] != group_of[to] {
            missing[group_of[to]] += 1;
        }
    }
    let first = |group: usize| groups[group].iter().map(|&member| rank[member]).min();
    let mut ready: BinaryHeap<Reverse<(Option<usize>, usize)>> = (0..groups.len())
        .filter(|&group| missing[group] == 0)
        .map(|group| Reverse((first(group), group)))
        .collect();
    let mut ordered = Vec::with_capacity(count);
    while let Some(Reverse((_, group))) = ready.pop() {
        let mut members = groups[group].clone();
        members.sort_by_key(|&member| rank[member]);
        for &to in members.iter().flat_map(|&member| &next[member]) {
            let other = group_of[to];
            if other != group {
                missing[other] -= 1;
                if missing[other] == 0 {
                    ready.push(Reverse((first(other), other)));
                }
            }
        }
        ordered.extend(members);
    }
    ordered
}

/// Strongly connected components (Tarjan 1972), without recursion.
fn components(next: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let mut index = vec![NEW; next.len()];
    let mut low = vec![0; next.len()];
    let mut on_stack = vec![false; next.len()];
    let (mut stack, mut found, mut counter) = (Vec::new(), Vec::new(), 0);
    for root in 0..next.len() {
        if index[root] != NEW {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((node, child)) = path.pop() {
            if child == 0 {
                index[node] = counter;
                low[node] = counter;
                counter += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(&to) = next[node].get(child) {
                path.push((node, child + 1));
                if index[to] == NEW {
                    path.push((to, 0));
                } else if on_stack[to] {
                    low[node] = low[node].min(index[to]);
                }
                continue;
            }
            if let Some(&(parent, _)) = path.last() {
                low[parent] = low[parent].min(low[node]);
            }
            if low[node] == index[node] {
                let at = stack
                    .iter()
                    .rposition(|&member| member == node)
                    .unwrap_or(0);
                let members = stack.split_off(at);
                for &member in &members {
                    on_stack[member] = false;
                }
                found.push(members);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_comes_after_its_producers_and_a_cycle_is_together() {
        // 0 started first, but consumes what 3 made; 1 and 2 feed each other.
        let order = order(&[0, 1, 2, 3], &[(3, 0), (1, 2), (2, 1), (2, 3)]);
        assert_eq!(order, [1, 2, 3, 0]);
    }

    #[test]
    fn a_chain_of_many_does_not_overflow_the_stack() {
        let rank: Vec<usize> = (0..100_000).collect();
        let edges: Vec<_> = (1..100_000).map(|to| (to - 1, to)).collect();
        assert_eq!(order(&rank, &edges), rank);
    }
}
