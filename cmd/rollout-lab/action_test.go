//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pushed is the event of a push to the default branch, and pulled that of a pull request.
var (
	pushed = map[string]string{"github.event.repository.default_branch": "main", "github.event_name": "push",
		"github.ref": "refs/heads/main", "github.sha": "5e1f", "github.job": "gate"}
	pulled = map[string]string{"github.event.repository.default_branch": "main", "github.event_name": "pull_request",
		"github.ref": "refs/pull/1/merge", "github.sha": "e4e4", "github.event.pull_request.head.sha": "4ead", "github.job": "gate"}
)

// fakeRelease is a folder with the release v1 for this machine, whose program is a script, the
// sum of its sums, and a curl that fetches from it.
func fakeRelease(t *testing.T, program string) (bin, sum string) {
	t.Helper()
	dir := t.TempDir()
	script(t, filepath.Join(dir, "tree", "rollout-lab"), program)
	sh(t, dir, `mkdir tree/completions && cp `+mustAbs(t, "../../action/baseline")+` tree/baseline-branch && mkdir -p v1 && for p in linux-amd64 linux-arm64; do tar -C tree -czf v1/rollout-lab-$p.tar.gz .; done; cd v1 && sha256sum *.tar.gz >sha256sums.txt`)
	script(t, filepath.Join(dir, "bin", "curl"), `#!/bin/sh
to=$(basename "$(eval echo "\${$#}")")
while [ $# -gt 1 ]; do
	[ "$1" != --output ] || to=$2
	shift
done
cp "`+dir+`/${1#https://github.com/rollout-lab/rollout-lab/releases/download/}" "$to"
`)
	sums, err := os.ReadFile(filepath.Join(dir, "v1", "sha256sums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "bin"), fmt.Sprintf("%x", sha256.Sum256(sums))
}

// fakeLab writes down what it is told, and ends as LAB_CODE and LAB_VERDICT say.
const fakeLab = `#!/bin/bash
printf '%s\n' "$*" >>"$LAB_LOG"
case $1 in
run)
	while [ "$1" != --out ]; do shift; done
	mkdir "$2" && touch "$2/run.json"
	[ -z "$LAB_KILLED" ] || kill -9 $$
	printf 'verdict=%s\nexit-code=%s\nreason=because\n' "$LAB_VERDICT" "$LAB_CODE" >>"$GITHUB_OUTPUT"
	;;
report) printf 'verdict=inconclusive\nexit-code=2\n' >>"$GITHUB_OUTPUT" ;;
baseline) echo "$2" "$(basename "${!#}")" >>"$3" ;;
esac
exit "$LAB_CODE"
`

// fakeJob is a job with a release whose program is fakeLab.
func fakeJob(t *testing.T, event map[string]string, verdict, code string) (j *githubJob, with map[string]string, told func() []string) {
	t.Helper()
	bin, sum := fakeRelease(t, fakeLab)
	j = newGithubJob(t, t.TempDir(), event)
	j.path = slices.Insert(j.path, 0, bin)
	log := filepath.Join(t.TempDir(), "log")
	j.env = map[string]string{"LAB_LOG": log, "LAB_VERDICT": verdict, "LAB_CODE": code, "LAB_KILLED": ""}
	return j, map[string]string{"scenario": "a.yaml  b.yaml", "version": "v1", "sha256": sum}, func() []string {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	}
}

func TestTheActionInstallsWhatWasPinned(t *testing.T) {
	action := readAction(t, ".")
	for _, tc := range []struct {
		name string
		with func(map[string]string)
		harm string // a line for the shell, in the folder of the release
		want string // in the log; "" where it installs
	}{
		{"as it was pinned", func(map[string]string) {}, "", ""},
		{"other sums", func(w map[string]string) { w["sha256"] = strings.Repeat("0", 64) }, "", "have the sum"},
		{"no sum", func(w map[string]string) { delete(w, "sha256") }, "", "without its sha256"},
		{"another archive", func(map[string]string) {}, "for f in *.tar.gz; do echo x >>$f; done", "is not what the sums of v1 say"},
		{"another archive and sums for it", func(map[string]string) {}, "for f in *.tar.gz; do echo x >>$f; done; sha256sum *.tar.gz >sha256sums.txt", "have the sum"},
		{"no such release", func(w map[string]string) { w["version"] = "v2" }, "", "v2/sha256sums.txt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			j, with, _ := fakeJob(t, pulled, "pass", "0")
			tc.with(with)
			if tc.harm != "" {
				sh(t, filepath.Join(filepath.Dir(j.path[0]), "v1"), tc.harm)
			}
			_, _, failed := j.use(action, with)
			if want := map[bool]string{false: "", true: "Install rollout-lab"}[tc.want != ""]; failed != want || !strings.Contains(j.log.String(), tc.want) {
				t.Errorf("the step %q failed, want %q and %q:\n%s", failed, want, tc.want, j.log.String())
			}
			if _, err := os.Stat(filepath.Join(j.temp, "rollout-lab-bin", "rollout-lab")); (err == nil) != (tc.want == "") {
				t.Errorf("it is installed: %v", err)
			}
		})
	}
}

func TestTheActionBuildsWhereNoReleaseIsNamed(t *testing.T) {
	j, with, told := fakeJob(t, pulled, "pass", "0")
	delete(with, "version")
	delete(with, "sha256")
	script(t, filepath.Join(j.temp, "bin", "go"), "#!/bin/sh\necho \"$CGO_ENABLED $*\" >>\"$LAB_LOG\"\nfor w; do [ \"$last\" != -o ] || to=$w; last=$w; done\nprintf '#!/bin/sh\\ntrue\\n' >\"$to\" && chmod +x \"$to\"\n")
	j.path = slices.Insert(j.path, 0, filepath.Join(j.temp, "bin"))
	if _, _, failed := j.use(readAction(t, "."), with); failed != "" {
		t.Errorf("the step %q failed\n%s", failed, j.log.String())
	}
	if want := "0 build -C "; !strings.HasPrefix(told()[0], want) || !strings.HasSuffix(told()[0], " ./cmd/rollout-lab") {
		t.Errorf("go was told %q", told()[0])
	}
	j.path = []string{filepath.Join(j.temp, "none")}
	for _, name := range []string{"bash", "mkdir", "dirname"} {
		sh(t, j.temp, "mkdir -p none && ln -s $(command -v "+name+") none/")
	}
	if _, _, failed := j.use(readAction(t, "."), with); failed != "Install rollout-lab" || !strings.Contains(j.log.String(), "hint: give a version and its sha256") {
		t.Errorf("without Go the step %q failed\n%s", failed, j.log.String())
	}
}

func TestTheActionPassesOnWhatItIsTold(t *testing.T) {
	for _, tc := range []struct {
		name          string
		event         map[string]string
		verdict, code string
		with          map[string]string
		want          string // what run is told, behind the names
		failed        string
	}{
		{"a pull request", pulled, "pass", "0", map[string]string{"args": "--trials 5\n--rate 50"},
			"--driver process --out OUT/run --summary OUT/summary.md --label commit=4ead --fail-on gate --inconclusive fail --trials 5 --rate 50", ""},
		{"a file", pulled, "fail", "1", map[string]string{"baseline": "file", "baseline-file": "b.json", "fail-on": "never", "driver": "docker,kind"},
			"--driver docker,kind --baseline b.json --out OUT/run --summary OUT/summary.md --label commit=4ead --fail-on never --inconclusive fail", "Run"},
		{"a push", pushed, "inconclusive", "2", map[string]string{"inconclusive": "warn"},
			"--driver process --out OUT/run --summary OUT/summary.md --label commit=5e1f --fail-on gate --inconclusive warn", "Run"},
		{"nothing is accepted in a pull request", pulled, "fail", "1", map[string]string{"accept": "is meant"},
			"--driver process --out OUT/run --summary OUT/summary.md --label commit=4ead --fail-on gate --inconclusive fail", "Run"},
		{"no such kind of baseline", pushed, "pass", "0", map[string]string{"baseline": "cache"}, "", "Find the baseline"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			j, with, told := fakeJob(t, tc.event, tc.verdict, tc.code)
			maps.Copy(with, tc.with)
			outputs, _, failed := j.use(readAction(t, "."), with)
			if failed != tc.failed {
				t.Fatalf("the step %q failed, want %q\n%s", failed, tc.failed, j.log.String())
			}
			if tc.want == "" {
				return
			}
			words := strings.Fields(told()[0])
			out := filepath.Dir(words[slices.Index(words, "--out")+1])
			if got, want := told()[0], "run a.yaml b.yaml "+strings.ReplaceAll(tc.want, "OUT", out); got != want {
				t.Errorf("it runs\n%s, want\n%s", got, want)
			}
			if outputs["verdict"] != tc.verdict || outputs["exit-code"] != tc.code || outputs["reason"] != "because" {
				t.Errorf("the outputs are %v", outputs)
			}
			for name, folder := range j.artifacts {
				if !strings.HasPrefix(name, "rollout-lab-gate-1-") {
					t.Errorf("the artifact is %q", name)
				}
				if _, err := os.Stat(filepath.Join(folder, "run", "run.json")); err != nil {
					t.Error(err)
				}
			}
			if len(j.artifacts) != 1 {
				t.Errorf("%d artifacts, want 1, whatever the verdict is", len(j.artifacts))
			}
		})
	}
}

// A job that is ended leaves what was measured so far, judged as that.
func TestTheActionTellsOfARunThatWasKilled(t *testing.T) {
	j, with, told := fakeJob(t, pulled, "pass", "0")
	j.env["LAB_KILLED"] = "yes"
	with["comment"] = "on-change"
	outputs, _, failed := j.use(readAction(t, "."), with)
	if failed != "Run" || outputs["verdict"] != "inconclusive" || len(j.artifacts) != 1 || !strings.HasPrefix(told()[1], "report ") {
		t.Errorf("the step %q failed, outputs %v, %d artifacts\n%s", failed, outputs, len(j.artifacts), j.log.String())
	}
	for _, folder := range j.artifacts {
		text, err := os.ReadFile(filepath.Join(folder, "comment.json"))
		var comment struct{ Comment, Verdict string }
		if err != nil || json.Unmarshal(text, &comment) != nil || comment.Comment != "on-change" || comment.Verdict != "inconclusive" {
			t.Errorf("%s, %v", text, err)
		}
	}
}

// shopRepository is a bare repository with commits a, b and c on main, tagged so, and a clone.
func shopRepository(t *testing.T) (origin, clone string) {
	t.Helper()
	dir := t.TempDir()
	sh(t, dir, `git init --quiet --bare --initial-branch main origin && git clone --quiet origin clone 2>/dev/null && cd clone && git checkout --quiet -b main
for c in a b c; do echo $c >file && git add file && git commit --quiet -m $c && git tag $c; done; git push --quiet --tags origin main`)
	return filepath.Join(dir, "origin"), filepath.Join(dir, "clone")
}

// baselineOf is what action/baseline prints, run in a clone with a fake program.
func baselineOf(t *testing.T, clone, args string) string {
	t.Helper()
	here, err := filepath.Abs("../../action/baseline")
	if err != nil {
		t.Fatal(err)
	}
	lab := filepath.Join(t.TempDir(), "lab")
	script(t, lab, "#!/bin/sh\nbasename \"$4\" >>\"$3\"\n")
	return sh(t, clone, "ROLLOUT_LAB="+lab+" "+here+" "+args)
}

func TestABaselineIsThatOfTheNearestAncestor(t *testing.T) {
	origin, clone := shopRepository(t)
	commit := func(rev string) string { return sh(t, clone, "git rev-parse "+rev) }
	check := func(folder, rev, want string, of string) {
		t.Helper()
		sh(t, folder, "git checkout --quiet "+rev)
		if got := baselineOf(t, folder, "get baseline.json"); got != of {
			t.Errorf("%s: it is that of %q, want %q", rev, got, of)
		}
		if got := sh(t, folder, "cat baseline.json 2>/dev/null | tr '\\n' ' ' || true"); got != want {
			t.Errorf("%s: it has the runs %q, want %q", rev, got, want)
		}
	}
	check(clone, "b", "", "") // no such branch yet
	for _, c := range []string{"a", "b", "c"} {
		sh(t, clone, "git checkout --quiet "+c)
		baselineOf(t, clone, "put work.json runs/run-"+c)
	}
	check(clone, "b", "run-a run-b", commit("b"))
	check(clone, "c", "run-a run-b run-c", commit("c"))
	// A change that left main at b, and what the pull request would be when it is merged.
	sh(t, clone, "git checkout --quiet -b change b && echo x >other && git add other && git commit --quiet -m change && git push --quiet origin change")
	check(clone, "change", "run-a run-b", commit("b"))
	sh(t, clone, "git checkout --quiet -b merged c && git merge --quiet --no-edit change")
	check(clone, "merged", "run-a run-b run-c", commit("c"))
	// A run of an older commit that comes late is no part of what is newer, and hides it from nobody.
	sh(t, clone, "git checkout --quiet a")
	baselineOf(t, clone, "put work.json runs/run-late")
	check(clone, "a", "run-a run-late", commit("a"))
	check(clone, "c", "run-a run-b run-c", commit("c"))
	// A shallow clone is made whole, and what never was on main has no baseline.
	shallow := filepath.Join(t.TempDir(), "shallow")
	sh(t, filepath.Dir(shallow), "git clone --quiet --depth 1 --branch change file://"+origin+" shallow")
	check(shallow, "change", "run-a run-b", commit("b"))
	sh(t, clone, "git checkout --quiet --orphan other && git commit --quiet -m other")
	check(clone, "other", "", "")
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func TestABaselineIsPushedOnTopOfAnothers(t *testing.T) {
	origin, clone := shopRepository(t)
	baselineOf(t, clone, "put work.json runs/run-first")
	script(t, filepath.Join(origin, "hooks", "pre-receive"), "#!/bin/sh\n[ ! -f \"$GIT_DIR/refuse\" ] || { rm \"$GIT_DIR/refuse\"; exit 1; }\n")
	sh(t, origin, "touch refuse")
	baselineOf(t, clone, "put work.json runs/run-second 2>/dev/null")
	if got := sh(t, origin, "git show rollout-lab-baseline:baseline.json | tr '\\n' ' '"); got != "run-first run-second" {
		t.Errorf("it has the runs %q", got)
	}
	if got := sh(t, origin, "git rev-list --count rollout-lab-baseline; git ls-tree --name-only rollout-lab-baseline"); got != "2\nbaseline.json" {
		t.Errorf("the branch is %q", got)
	}
	script(t, filepath.Join(origin, "hooks", "pre-receive"), "#!/bin/sh\nexit 1\n")
	out := baselineOf(t, clone, "put work.json runs/run-third 2>&1 || test $? = 4")
	if !strings.Contains(out, "hint: the job needs permissions: {contents: write}") {
		t.Errorf("it says %q", out)
	}
	// Where the repository cannot be reached, that is said, and is no baseline that is not there.
	sh(t, clone, "git remote set-url origin "+origin+"-gone")
	if out := sh(t, clone, "! "+mustAbs(t, "../../action/baseline")+" get baseline.json 2>&1"); !strings.Contains(out, "-gone") {
		t.Errorf("it says %q", out)
	}
}

// fakeGH answers from files, and writes down what it is told to post.
const fakeGH = `#!/bin/bash
if [ "$1 $2" = "run download" ]; then
	cp -R "$GH/artifacts/." "${!#}" && exit
fi
filter=. method=GET input=
for ((i = 2; i <= $#; i++)); do
	next=$((i + 1))
	case ${!i} in
	--jq) filter=${!next} ;;
	--method) method=${!next} ;;
	--input) input=${!next} ;;
	repos/*) path=${!i} ;;
	head=*) echo "${!i}" >>"$GH/log" ;;
	esac
done
echo "$method $path" >>"$GH/log"
if [ -n "$input" ]; then cp "$input" "$GH/posted.json"; else jq --raw-output "$filter" "$GH/${path//\//_}.json"; fi
`

func TestTheCommentIsOneAndOnlyWhereItIsWanted(t *testing.T) {
	const evil = "## FAIL: `x`\nhello @everyone and @o/team"
	for _, tc := range []struct {
		name, comment, verdict string
		old                    string // comments on the pull request
		head                   string // of the pull request
		want                   string // the request that changes something
	}{
		{"never", "never", "fail", "[]", "4ead", ""},
		{"a fail", "on-change", "fail", "[]", "4ead", "POST repos/o/r/issues/12/comments"},
		{"an inconclusive", "on-change", "inconclusive", "[]", "4ead", "POST repos/o/r/issues/12/comments"},
		{"a pass, nothing before", "on-change", "pass", "[]", "4ead", ""},
		{"a pass behind a fail", "on-change", "pass", `[{"id": 5, "user": {"type": "Bot"}, "body": "<!-- rollout-lab -->\n## FAIL"}]`, "4ead", "PATCH repos/o/r/issues/comments/5"},
		{"a pass, always", "always", "pass", "[]", "4ead", "POST repos/o/r/issues/12/comments"},
		{"a person who writes the mark", "always", "pass", `[{"id": 6, "user": {"type": "User"}, "body": "<!-- rollout-lab -->"}]`, "4ead", "POST repos/o/r/issues/12/comments"},
		{"somebody who quotes it", "always", "pass", `[{"id": 7, "user": {"type": "Bot"}, "body": "> <!-- rollout-lab -->"}]`, "4ead", "POST repos/o/r/issues/12/comments"},
		{"pushed to meanwhile", "always", "fail", "[]", "beef", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := map[string]string{
				"repos_o_r_actions_runs_9_artifacts.json":     `{"artifacts": [{"name": "rollout-lab-gate-1-x"}, {"name": "logs"}]}`,
				"repos_o_r_pulls.json":                        `[{"number": 11, "head": {"sha": "0000"}}, {"number": 12, "head": {"sha": "` + tc.head + `"}}]`,
				"repos_o_r_issues_12_comments.json":           tc.old,
				"artifacts/rollout-lab-gate-1-x/summary.md":   evil + strings.Repeat("x", 70_000),
				"artifacts/rollout-lab-gate-1-x/comment.json": `{"comment": "` + tc.comment + `", "verdict": "` + tc.verdict + `"}`,
			}
			for name, text := range files {
				script(t, filepath.Join(dir, name), text)
			}
			script(t, filepath.Join(dir, "bin", "gh"), fakeGH)
			j := newGithubJob(t, dir, map[string]string{"github.token": "t", "github.repository": "o/r", "github.event.workflow_run.id": "9",
				"github.event.workflow_run.head_sha": "4ead", "github.event.workflow_run.head_branch": "a&b", "github.event.workflow_run.head_repository.owner.login": "fork"})
			j.env["GH"] = dir
			j.path = slices.Insert(j.path, 0, filepath.Join(dir, "bin"))
			if _, _, failed := j.use(readAction(t, "action/comment"), nil); failed != "" || strings.Contains(j.log.String(), "exit status") {
				t.Fatal(j.log.String())
			}
			log, err := os.ReadFile(filepath.Join(dir, "log"))
			if err != nil || !strings.Contains(string(log), "head=fork:a&b\n") {
				t.Errorf("%s, %v: it does not look for the head of the fork", log, err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "posted.json"))
			if (err == nil) != (tc.want != "") || tc.want != "" && !strings.HasSuffix(string(log), tc.want+"\n") {
				t.Fatalf("it does\n%s, want %q last\n%s", log, tc.want, j.log.String())
			}
			if tc.want == "" {
				return
			}
			var posted struct{ Body string }
			if err := json.Unmarshal(text, &posted); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(posted.Body, "<!-- rollout-lab -->\n## FAIL: `x`\n") || len(posted.Body) > 65_000 || strings.Contains(posted.Body, "@e") || strings.Contains(posted.Body, "@o") {
				t.Errorf("it posts %.200q, %d bytes", posted.Body, len(posted.Body))
			}
		})
	}
}
