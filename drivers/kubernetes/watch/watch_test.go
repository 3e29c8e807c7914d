package watch

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

// server is an API whose answers the test decides, and what Follow has made of them.
type server struct {
	lists   []error // of each list in turn; nil when there are no more
	listed  int
	watches chan *watch.FakeWatcher
	said    []string
}

func (s *server) say(format string, args ...any) {
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

func (s *server) List(_ context.Context, o metav1.ListOptions) (*corev1.PodList, error) {
	s.listed++
	if len(s.lists) >= s.listed && s.lists[s.listed-1] != nil {
		return nil, s.lists[s.listed-1]
	}
	if o.LabelSelector != "app=web" || o.FieldSelector != "spec.nodeName=n" {
		return nil, fmt.Errorf("unselected list: %+v", o)
	}
	return &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprintf("list%d", s.listed)}, Items: []corev1.Pod{*pod("listed")}}, nil
}

func (s *server) Watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if o.LabelSelector != "app=web" || o.FieldSelector != "spec.nodeName=n" || !o.AllowWatchBookmarks {
		return nil, fmt.Errorf("unselected watch: %+v", o)
	}
	s.say("watch from %s", o.ResourceVersion)
	w := watch.NewFakeWithChanSize(10, false)
	s.watches <- w
	return w, nil
}

func (s *server) handler() Handler[*corev1.Pod] {
	return Handler[*corev1.Pod]{
		Replaced: func(_ time.Time, all []*corev1.Pod) { s.say("%d listed", len(all)) },
		Seen:     func(_ time.Time, p *corev1.Pod) { s.say("seen %s", p.Name) },
		Gone:     func(_ time.Time, p *corev1.Pod) { s.say("gone %s", p.Name) },
		Lost:     func(_ time.Time, err error) { s.say("lost: %v", err) },
	}
}

func pod(name string) *corev1.Pod { return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}} }

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
		}, []string{"1 listed", "watch from list1", "lost: too old", "1 listed", "watch from list2"}},
		{"a watch that ends at once", nil, func(s *server) {
			(<-s.watches).Stop()
			<-s.watches
		}, []string{"1 listed", "watch from list1", "lost: it ended as soon as it had begun", "1 listed", "watch from list2"}},
		{"a list that fails", []error{errors.New("refused")}, func(s *server) { <-s.watches },
			[]string{"lost: refused", "1 listed", "watch from list2"}},
		{"something else", nil, func(s *server) {
			w := <-s.watches
			w.Add(&corev1.Node{})
			<-s.watches
		}, []string{"1 listed", "watch from list1", "lost: unexpected *v1.Node", "1 listed", "watch from list2"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{lists: c.lists, watches: make(chan *watch.FakeWatcher)}
			ctx, cancel := context.WithCancel(t.Context())
			first, over := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(over)
				Follow(ctx, s, Selection{Labels: "app=web", Fields: "spec.nodeName=n"}, s.handler(), first)
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
