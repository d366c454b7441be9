def test_a_grid_is_tried_and_its_winner_tested(toy, sweep_in, small_grid):
    report = sweep_in(toy, small_grid)
    document = report.document()
    import json
    print(json.dumps(document, indent=1))
    print(*sorted(p.relative_to(toy.folder) for p in (toy.folder/"sweep").rglob("*")), sep="\n")
    print((toy.folder/"sweep"/"leaderboard.csv").read_text())
    print((toy.folder/"sweep"/"sweep.toml").read_text())
    (toy.folder/"sweep"/"leaderboard.html").rename("/tmp/sw/l.html")
    assert 0
