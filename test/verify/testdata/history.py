"""Who may take the lead, by the history that the cluster has in etcd. Prints a line for each."""

import sys
from types import SimpleNamespace

sys.path.insert(0, "/usr/lib/pgha")
import pgha_corrections

healthiest = pgha_corrections.leads_only_the_clusters_history(lambda self: True)

LIVED = [[1, 1000, "no recovery target specified"], [2, 3000, "no recovery target specified"]]
RESTORED = [[1, 700, "before 2026-11-26 12:00:00+00"]]
for what, timeline, mine, history in [
    ("on the cluster's timeline", 3, LIVED, LIVED),
    ("promoted before the history was written", 4, LIVED + [[3, 5000, ""]], LIVED),
    ("a first timeline", 1, [], None),
    ("the database of before, on a higher timeline", 3, LIVED, RESTORED),
    ("the same, promoted since", 4, LIVED + [[3, 5000, ""]], RESTORED),
    ("a copy of the restored one", 4, RESTORED, RESTORED),
    ("a copy of it that was promoted", 5, RESTORED + [[4, 9000, ""]], RESTORED),
    ("restored, and the history is that of before", 4, RESTORED, LIVED),
    ("restored twice", 5, [[1, 500, ""]], RESTORED),
    ("it has no history file", 3, [], LIVED),
]:
    newest = history[-1][0] + 1 if history else 0
    ha = SimpleNamespace(
        cluster=SimpleNamespace(history=history and SimpleNamespace(lines=history), timeline=newest),
        check_timeline=lambda: True, is_standby_cluster=lambda: False,
        state_handler=SimpleNamespace(replica_cached_timeline=lambda _: timeline, get_history=lambda _: mine))
    print(f"{what}: {healthiest(ha)}")
