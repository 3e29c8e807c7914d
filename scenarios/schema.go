package scenarios

import (
	_ "embed" // for the schema
	"errors"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema (draft 2020-12) of a scenario's file, for editors. It tells
// unknown keys, wrong types and wrong words; what takes several fields to see (phases
// that overlap, the unit of a limit) only Parse tells. The file is generated from the
// types and their comments: go test ./scenarios -run TestSchema -update.
func Schema() ([]byte, error) {
	if len(schema) == 0 {
		return nil, errors.New("the scenario schema is empty: this program was built without it")
	}
	return slices.Clone(schema), nil
}
