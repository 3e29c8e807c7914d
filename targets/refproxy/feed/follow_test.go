package feed_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/feed"
)

// plane is a control plane without a network: each connection gets what the next of its
// answers says.
type plane struct {
	answers []answer
	asked   []url.Values
}

// answer is one response: an error, or a status and lines, after which the stream ends or
// goes silent.
type answer struct {
	err    error
	status int
	lines  string
	silent bool
}

func (p *plane) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked = append(p.asked, r.URL.Query())
	a := p.answers[0]
	if len(p.answers) > 1 {
		p.answers = p.answers[1:]
	}
	if a.err != nil {
		return nil, a.err
	}
	body := io.Reader(strings.NewReader(a.lines))
	if a.silent {
		body = io.MultiReader(body, silence{r.Context()})
	}
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Body: io.NopCloser(body)}, nil
}

// silence is a body that brings nothing until its request is given up.
type silence struct{ ctx context.Context }

func (s silence) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// follow follows a plane until the given number of connections broke.
func follow(t *testing.T, p *plane, breaks int, message func(feed.Message) error) (broken []error, took []time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := time.Now()
	f := &feed.Follower{
		Client: &http.Client{Transport: p}, Base: "http://control", Path: feed.ConfigPath,
		Instance: "a", Silence: 10 * time.Second,
		From:    func() feed.Position { return feed.Position{Epoch: "e", Version: 7} },
		Message: message,
		Broken: func(err error, wait time.Duration) {
			broken = append(broken, err)
			took = append(took, time.Since(begun))
			if len(broken) == breaks {
				cancel()
			}
			begun = time.Now().Add(wait)
		},
	}
	f.Follow(ctx)
	return broken, took
}

func ignore(feed.Message) error { return nil }

func TestFollowTakesMessagesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &plane{answers: []answer{{status: 200, lines: `{"kind":"begin","epoch":"e","total":2}
{"kind":"records","records":[{"id":"x","group":"g"},{"id":"y","group":"g","revoked":true}]}
{"kind":"end","version":3,"total":2}
`}}}
		var got []feed.Message
		broken, _ := follow(t, p, 1, func(m feed.Message) error {
			got = append(got, m)
			return nil
		})
		want := []feed.Message{
			{Kind: feed.Begin, Epoch: "e", Total: 2},
			{Kind: feed.Records, Records: []feed.Record{{ID: "x", Group: "g"}, {ID: "y", Group: "g", Revoked: true}}},
			{Kind: feed.End, Version: 3, Total: 2},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
		if len(broken) != 1 || !strings.Contains(broken[0].Error(), "closed the stream") {
			t.Errorf("broken with %v, want one that says that the stream was closed", broken)
		}
		wantQuery := feed.Query("a", feed.Position{Epoch: "e", Version: 7})
		if diff := cmp.Diff(wantQuery, p.asked[0]); diff != "" {
			t.Errorf("query (-want +got):\n%s", diff)
		}
	})
}

func TestFollowSaysWhyItBroke(t *testing.T) {
	refused := errors.New("connection refused")
	tests := []struct {
		name   string
		answer answer
		want   string
		after  time.Duration // of the beginning of the connection
	}{
		{"no connection", answer{err: refused}, "connection refused", 0},
		{"no stream", answer{status: 404, lines: "no such thing"}, "no such thing", 0},
		{"half a line", answer{status: 200, lines: `{"kind":"heart`}, "read stream", 0},
		{"no JSON", answer{status: 200, lines: "hello\n"}, "read stream", 0},
		{"silent from the start", answer{status: 200, silent: true}, "silent", 10 * time.Second},
		{"silent after a message", answer{status: 200, lines: `{"kind":"heartbeat"}`, silent: true}, "silent", 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken, took := follow(t, &plane{answers: []answer{tt.answer}}, 1, ignore)
				if !strings.Contains(broken[0].Error(), tt.want) {
					t.Errorf("error = %v, want one that contains %q", broken[0], tt.want)
				}
				if took[0] != tt.after {
					t.Errorf("broke after %v, want %v", took[0], tt.after)
				}
				if got, want := errors.Is(broken[0], feed.ErrSilent), tt.want == "silent"; got != want {
					t.Errorf("errors.Is(%v, ErrSilent) = %v, want %v", broken[0], got, want)
				}
			})
		})
	}
}

func TestFollowGivesUpAStreamThatItCannotUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &plane{answers: []answer{{status: 200, lines: `{"kind":"heartbeat"}` + "\n", silent: true}}}
		gap := errors.New("a gap")
		broken, _ := follow(t, p, 1, func(feed.Message) error { return gap })
		if !errors.Is(broken[0], gap) {
			t.Errorf("error = %v, want the follower's own", broken[0])
		}
	})
}

func TestFollowBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := answer{err: errors.New("down")}
		p := &plane{answers: []answer{
			down, down, down, down, down, down, down, down,
			{status: 200, lines: `{"kind":"heartbeat"}`}, // it is back, and goes away again
			down,
		}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var waits []time.Duration
		f := &feed.Follower{
			Client: &http.Client{Transport: p}, Base: "http://control", Silence: time.Minute,
			From: func() feed.Position { return feed.Position{} }, Message: ignore,
			Broken: func(_ error, wait time.Duration) {
				if waits = append(waits, wait); len(waits) == 10 {
					cancel()
				}
			},
		}
		f.Follow(ctx)
		for i, most := range []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000, 50, 100} {
			most *= time.Millisecond
			if waits[i] < most/2 || waits[i] > most {
				t.Errorf("wait %d is %v, want %v to %v", i, waits[i], most/2, most)
			}
		}
	})
}

func TestParseQuery(t *testing.T) {
	for name, tt := range map[string]struct {
		query string
		want  feed.Position
	}{
		"all":             {"instance=a&epoch=e&version=7", feed.Position{Epoch: "e", Version: 7}},
		"nothing yet":     {"instance=a", feed.Position{}},
		"no epoch":        {"instance=a&version=7", feed.Position{}},
		"no number":       {"instance=a&epoch=e&version=x", feed.Position{}},
		"negative number": {"instance=a&epoch=e&version=-1", feed.Position{}},
	} {
		q, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		instance, got := feed.ParseQuery(q)
		if instance != "a" || got != tt.want {
			t.Errorf("%s: ParseQuery = %q, %+v; want a, %+v", name, instance, got, tt.want)
		}
	}
}
