package settings

import _ "embed"

// Schema is the JSON schema (draft 2020-12) of the configuration file, for editors that complete and check YAML by it. A test keeps
// it true to the types.
//
//go:embed schema.json
var Schema []byte
