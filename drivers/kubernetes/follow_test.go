package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// server is a source whose answers the test decides, and what follow has made of them.
type server struct {
	lists   []error // of each list in turn; nil when there are no more
	listed  int
	watches chan *watch.FakeWatcher
	said    []string
}

func (s *server) say(format string, args ...any) {
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

func (s *server) source() source[corev1.Pod, *corev1.Pod] {
	return source[corev1.Pod, *corev1.Pod]{
		what: "pods",
		list: func(context.Context, metav1.ListOptions) ([]corev1.Pod, string, error) {
			s.listed++
			if len(s.lists) >= s.listed && s.lists[s.listed-1] != nil {
				return nil, "", s.lists[s.listed-1]
			}
			return []corev1.Pod{*pod("listed")}, fmt.Sprintf("list%d", s.listed), nil
		},
		watch: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			s.say("watch from %s", o.ResourceVersion)
			w := watch.NewFakeWithChanSize(10, false)
			s.watches <- w
			return w, nil
		},
		replaced: func(_ time.Time, all []*corev1.Pod) { s.say("%d listed", len(all)) },
		seen:     func(_ time.Time, p *corev1.Pod) { s.say("seen %s", p.Name) },
		gone:     func(_ time.Time, p *corev1.Pod) { s.say("gone %s", p.Name) },
		lost:     func(_ time.Time, what string, err error) { s.say("lost %s: %v", what, err) },
	}
}

func at(version, name string) *corev1.Pod {
	p := pod(name)
	p.ResourceVersion = version
	return p
}

func TestFollow(t *testing.T) {
	const long = time.Minute // that a watch of a real server lasts, at least
	for _, c := range []struct {
		name  string
		lists []error
		serve func(s *server)
		want  []string
	}{
		{"changes", nil, func(s *server) {
			w := <-s.watches
			w.Add(at("5", "a"))
			w.Modify(at("6", "a"))
			w.Delete(at("7", "a"))
		}, []string{"1 listed", "watch from list1", "seen a", "seen a", "gone a"}},
		{"a watch that ends in time goes on where it was", nil, func(s *server) {
			w := <-s.watches
			w.Add(at("5", "a"))
			w.Action(watch.Bookmark, at("9", ""))
			time.Sleep(long)
			w.Stop()
			(<-s.watches).Add(at("10", "b"))
		}, []string{"1 listed", "watch from list1", "seen a", "watch from 9", "seen b"}},
		{"a version that is too old", nil, func(s *server) {
			w := <-s.watches
			time.Sleep(long)
			w.Error(&apierrors.NewResourceExpired("too old").ErrStatus)
			<-s.watches
		}, []string{"1 listed", "watch from list1", "lost pods: too old", "1 listed", "watch from list2"}},
		{"a watch that ends at once", nil, func(s *server) {
			(<-s.watches).Stop()
			<-s.watches
		}, []string{"1 listed", "watch from list1", "lost pods: it ended as soon as it had begun", "1 listed", "watch from list2"}},
		{"a list that fails", []error{errors.New("refused")}, func(s *server) { <-s.watches },
			[]string{"lost pods: refused", "1 listed", "watch from list2"}},
		{"something else", nil, func(s *server) {
			w := <-s.watches
			w.Add(&corev1.Node{})
			<-s.watches
		}, []string{"1 listed", "watch from list1", "lost pods: unexpected *v1.Node", "1 listed", "watch from list2"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{lists: c.lists, watches: make(chan *watch.FakeWatcher)}
			ctx, cancel := context.WithCancel(t.Context())
			first, over := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(over)
				s.source().follow(ctx, first)
			}()
			c.serve(s)
			synctest.Wait()
			select {
			case <-first:
			default:
				t.Errorf("%s: nobody was told of the first list", c.name)
			}
			cancel()
			<-over
			if diff := cmp.Diff(c.want, s.said); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
		})
	}
}
