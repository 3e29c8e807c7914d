package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// retryPause is how long is waited after a list or a watch that failed, before the next.
const retryPause = 250 * time.Millisecond

// object is a pointer to an object of the API.
type object[T any] interface {
	*T
	metav1.Object
}

// source is a kind of objects that is listed and then watched.
type source[T any, P object[T]] struct {
	what  string
	list  func(context.Context, metav1.ListOptions) ([]T, string, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)

	// The changes, with the time of their arrival, from one goroutine.
	replaced func(at time.Time, all []P)
	seen     func(at time.Time, one P)
	gone     func(at time.Time, one P)
	lost     func(at time.Time, what string, err error)
}

// follow reports every change until ctx ends. The end of a watch after which the next one
// goes on at the same place is no gap and not reported; anything else is reported as a
// loss, and then everything is listed again. first is closed after the first list.
func (s source[T, P]) follow(ctx context.Context, first chan<- struct{}) {
	for version := ""; ctx.Err() == nil; {
		if version == "" {
			list, v, err := s.list(ctx, metav1.ListOptions{})
			if err != nil {
				s.broke(ctx, err)
				continue
			}
			all := make([]P, len(list))
			for i := range list {
				all[i] = &list[i]
			}
			s.replaced(time.Now(), all)
			if first != nil {
				close(first)
				first = nil
			}
			version = v
		}
		next, err := s.watchFrom(ctx, version)
		if version = next; err != nil {
			version = ""
			s.broke(ctx, err)
		}
	}
}

func (s source[T, P]) broke(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	s.lost(time.Now(), s.what, err)
	pause := time.NewTimer(retryPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
}

// watchFrom reports the changes after version until the watch ends, and returns the
// version up to which it has.
func (s source[T, P]) watchFrom(ctx context.Context, version string) (string, error) {
	w, err := s.watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
	if err != nil {
		return "", err
	}
	defer w.Stop()
	begun := time.Now()
	for {
		var e watch.Event
		var open bool
		select {
		case e, open = <-w.ResultChan():
		case <-ctx.Done():
			return version, nil
		}
		at := time.Now()
		if !open {
			if at.Sub(begun) < time.Second {
				// One that ends at once would be begun again without end.
				return "", errors.New("it ended as soon as it had begun")
			}
			return version, nil
		}
		if e.Type == watch.Error {
			return "", apierrors.FromObject(e.Object)
		}
		one, ok := e.Object.(P)
		if !ok {
			return "", fmt.Errorf("unexpected %T", e.Object)
		}
		version = one.GetResourceVersion()
		switch e.Type {
		case watch.Added, watch.Modified:
			s.seen(at, one)
		case watch.Deleted:
			s.gone(at, one)
		}
	}
}
