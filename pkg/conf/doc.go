// Package conf reads one YAML file into one typed struct, strictly.
//
// Every key must be known and every value must fit its type; all faults are
// reported, each with file, line, key path and reason, not only the first.
// A field takes its key from the tag `yaml:"name"`, and may be overridden by
// the environment variable in its tag `env:"NAME"`. Defaults are what the
// struct holds before reading.
package conf
