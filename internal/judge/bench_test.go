package judge

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// BenchmarkMillion reads a trial of 1,000,000 requests from its files and measures and
// judges it. It reports the memory that the process has taken from the system since the
// files were written, beside the time.
func BenchmarkMillion(b *testing.B) {
	dir := writeMillion(b)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	for b.Loop() {
		r, err := record.OpenRun(dir)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		d, err := r.Trial(r.Folders[0])
		if err != nil {
			b.Fatal(err)
		}
		read := time.Since(began)
		t := Measure(d)
		if len(d.Damage) > 0 || t.Planned != 900_000 || t.Failed != 20_000 {
			b.Fatalf("damage %v, %d planned, %d failed", d.Damage, t.Planned, t.Failed)
		}
		run := Judge(r.Run, r.End, r.Missing, []Trial{t})
		if len(run.Cells) != 1 || len(run.Reasons) == 0 {
			b.Fatal("not judged")
		}
		b.ReportMetric(read.Seconds(), "s-reading")
		b.ReportMetric((time.Since(began) - read).Seconds(), "s-judging")
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.Sys)/(1<<20), "MB-system")
	b.ReportMetric(float64(before.Sys)/(1<<20), "MB-system-before")
}

// writeMillion writes the trial in completion order, with an outage in which a twentieth
// of a second of requests times out.
func writeMillion(b *testing.B) string {
	b.Helper()
	const n, streams, replicas = 1_000_000, 3, 3
	dir := filepath.Join(b.TempDir(), "run")
	meta := record.Trial{
		Scenario: "bench", Driver: "process", Action: "rollout", Design: "good", N: 1, Rate: 1000, Planned: n,
		LoadTo: n * time.Millisecond, BaselineFrom: s, BaselineTo: 50 * s, WindowFrom: 100 * s, WindowTo: 1000 * s,
		ReplicasBefore: replicas, ReplicasAfter: replicas, ProbeEvery: 50 * ms,
	}
	w, err := record.CreateRun(dir, record.Run{Trials: []string{record.Folder(meta)}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	tw, err := w.Trial(meta)
	if err != nil {
		b.Fatal(err)
	}
	tw.Event(record.Event{At: 100 * s, Kind: record.ActionStarted})
	for i := range replicas {
		tw.Event(record.Event{At: 0, Kind: record.Ready, Instance: fmt.Sprint("proxy-", i)})
	}
	var late []record.Sample // of the outage, a second behind
	for k := range uint64(n) {
		at := time.Duration(k+1) * ms
		smp := record.Sample{
			Seq: k, Stream: [streams]string{"keepalive-get", "keepalive-post", "newconn-get"}[k%streams], Expect: record.Serve,
			Intended: at, Sent: at + time.Duration(k%997)*100, Done: at + ms + time.Duration(k*7919%100_003)*10,
			Class: record.OK, Status: 200, Attempts: 1, Bytes: 128, Instance: fmt.Sprint("proxy-", k%replicas), Revision: "v1",
		}
		if at >= 500*s && at < 520*s {
			smp.Class, smp.Status, smp.Instance, smp.Done = record.Timeout, 0, "", at+s
			late = append(late, smp)
			continue
		}
		for len(late) > 0 && late[0].Done < at {
			tw.Sample(late[0])
			late = late[1:]
		}
		tw.Sample(smp)
		if k%40 == 0 {
			smp.Seq = k / 40
			tw.Reference(smp)
		}
	}
	for at := time.Duration(0); at < 1000*s; at += 50 * ms {
		for i := range replicas {
			tw.Probe(record.ProbeResult{At: at, Took: ms, Instance: fmt.Sprint("proxy-", i), OK: true, Class: record.OK})
		}
	}
	if err := tw.Close(record.End{Sent: n}); err != nil {
		b.Fatal(err)
	}
	return dir
}
