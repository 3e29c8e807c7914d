// Package watch follows the objects of one kind in a Kubernetes API: it lists them, watches
// what becomes of them, and says so when it may have missed something. It keeps no objects,
// and unlike an informer it hides no gap and delivers every change, in order and with the
// time of its arrival.
package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// retryPause is how long is waited after a list or a watch that failed, before the next.
const retryPause = 250 * time.Millisecond

// API lists and watches one kind of objects, in lists of type L. Those of a
// kubernetes.Interface do.
type API[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// Handler takes in changes of objects of type P, a pointer. Its functions are called from
// one goroutine, with the time at which the change arrived; those that are nil are not.
type Handler[P metav1.Object] struct {
	Replaced func(at time.Time, all []P) // the complete list: at first, and after a loss
	Seen     func(at time.Time, one P)   // one that is new or was changed
	Gone     func(at time.Time, one P)   // one that was deleted, as it was last
	Lost     func(at time.Time, err error)
}

// Selection says which objects of a namespace are followed; its zero value all of them.
type Selection struct{ Labels, Fields string }

// Follow reports every change of the selected objects to h until ctx ends. The end of a
// watch after which the next one goes on at the same place is no gap and not reported;
// anything else is reported as a loss, and then everything is listed again. first is closed
// after the first list.
func Follow[P metav1.Object, L runtime.Object](ctx context.Context, api API[L], which Selection, h Handler[P], first chan<- struct{}) {
	f := follower[P, L]{api, metav1.ListOptions{LabelSelector: which.Labels, FieldSelector: which.Fields}, h}
	for version := ""; ctx.Err() == nil; {
		var err error
		if version == "" {
			if version, err = f.list(ctx); err != nil {
				version = ""
				f.broke(ctx, err)
				continue
			}
			if first != nil {
				close(first)
				first = nil
			}
		}
		if version, err = f.watchFrom(ctx, version); err != nil {
			version = ""
			f.broke(ctx, err)
		}
	}
}

type follower[P metav1.Object, L runtime.Object] struct {
	api     API[L]
	which   metav1.ListOptions
	handler Handler[P]
}

// list reports all objects and returns the version of the list.
func (f follower[P, L]) list(ctx context.Context) (version string, err error) {
	list, err := f.api.List(ctx, f.which)
	if err != nil {
		return "", err
	}
	about, err := meta.ListAccessor(list)
	if err != nil {
		return "", err
	}
	var all []P
	err = meta.EachListItem(list, func(o runtime.Object) error {
		one, err := as[P](o)
		all = append(all, one)
		return err
	})
	if err != nil {
		return "", err
	}
	if f.handler.Replaced != nil {
		f.handler.Replaced(time.Now(), all)
	}
	return about.GetResourceVersion(), nil
}

func as[P metav1.Object](o runtime.Object) (P, error) {
	one, ok := o.(P)
	if !ok {
		return one, fmt.Errorf("unexpected %T", o)
	}
	return one, nil
}

// broke reports a loss and waits a little.
func (f follower[P, L]) broke(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if f.handler.Lost != nil {
		f.handler.Lost(time.Now(), err)
	}
	pause := time.NewTimer(retryPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
}

// watchFrom reports the changes after version until the watch ends, and returns the
// version up to which it has.
func (f follower[P, L]) watchFrom(ctx context.Context, version string) (string, error) {
	options := f.which
	options.ResourceVersion, options.AllowWatchBookmarks = version, true
	w, err := f.api.Watch(ctx, options)
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
		one, err := as[P](e.Object)
		if err != nil {
			return "", err
		}
		version = one.GetResourceVersion()
		switch {
		case (e.Type == watch.Added || e.Type == watch.Modified) && f.handler.Seen != nil:
			f.handler.Seen(at, one)
		case e.Type == watch.Deleted && f.handler.Gone != nil:
			f.handler.Gone(at, one)
		}
	}
}
