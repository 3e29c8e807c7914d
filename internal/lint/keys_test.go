package lint_test

import (
	"encoding/json"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/rollout-lab/rollout-lab/internal/lint"
)

// TestKeysAreThoseOfTheAPI: keys.json has the keys of the API's own types. They are not
// imported by the package itself: whoever builds a program of it would need them all.
func TestKeysAreThoseOfTheAPI(t *testing.T) {
	want := lint.Keys{Objects: map[string]string{}, Types: map[string]map[string]string{}}
	for object, of := range map[string]reflect.Type{
		"apps/v1 Deployment":                     reflect.TypeFor[appsv1.Deployment](),
		"apps/v1 StatefulSet":                    reflect.TypeFor[appsv1.StatefulSet](),
		"apps/v1 DaemonSet":                      reflect.TypeFor[appsv1.DaemonSet](),
		"apps/v1 ReplicaSet":                     reflect.TypeFor[appsv1.ReplicaSet](),
		"v1 Pod":                                 reflect.TypeFor[corev1.Pod](),
		"v1 Service":                             reflect.TypeFor[corev1.Service](),
		"policy/v1 PodDisruptionBudget":          reflect.TypeFor[policyv1.PodDisruptionBudget](),
		"autoscaling/v2 HorizontalPodAutoscaler": reflect.TypeFor[autoscalingv2.HorizontalPodAutoscaler](),
	} {
		want.Objects[object] = addType(want.Types, of)
	}
	if *update {
		data, err := json.MarshalIndent(want, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("keys.json", append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var got lint.Keys
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("go test ./internal/lint -update (-API +keys.json):\n%s", diff)
	}
}

// addType adds a type, and those of its fields, and returns its name.
func addType(types map[string]map[string]string, t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return addType(types, t.Elem())
	case reflect.Slice:
		return around("[]", addType(types, t.Elem()))
	case reflect.Map:
		return around("{}", addType(types, t.Elem()))
	case reflect.Struct:
	default:
		return ""
	}
	if _, own := reflect.PointerTo(t).MethodByName("UnmarshalJSON"); own {
		return "" // a quantity, a time, a number or a percentage
	}
	name := path.Base(path.Dir(t.PkgPath())) + "/" + path.Base(t.PkgPath()) + "." + t.Name()
	if types[name] == nil {
		types[name] = map[string]string{}
		addFields(types, types[name], t)
	}
	return name
}

func addFields(types map[string]map[string]string, to map[string]string, t reflect.Type) {
	for f := range t.Fields() {
		switch name, options, _ := strings.Cut(f.Tag.Get("json"), ","); {
		case f.Anonymous && (name == "" || strings.Contains(options, "inline")):
			addFields(types, to, f.Type)
		case name == "status":
			to[name] = ""
		case name != "" && name != "-":
			to[name] = addType(types, f.Type)
		}
	}
}

func around(mark, name string) string {
	if name == "" {
		return ""
	}
	return mark + name
}
