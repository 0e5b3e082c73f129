{{- define "vxseal.name" -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- end }}
{{- define "vxseal.selector" -}}
app.kubernetes.io/name: vxseal
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "vxseal.labels" -}}
{{ include "vxseal.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "vxseal.image" -}}
{{- if .Values.image.digest -}}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end }}
{{- /* The configuration file of one node: what is "" and found out at run time is left out. */}}
{{- define "vxseal.config" -}}
{{- $config := deepCopy . -}}
{{- range $key := list "nodeName" "bpfDir" -}}
{{- if eq (get $config $key) "" }}{{ $_ := unset $config $key }}{{ end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}
{{- define "vxseal.httpPort" -}}{{ regexFind "[0-9]+$" .Values.config.http.listen }}{{- end }}
{{- /* Probes ask where the agent listens: loopback for an unspecified address. */}}
{{- define "vxseal.httpHost" -}}
{{- $host := regexReplaceAll ":[0-9]+$" .Values.config.http.listen "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if or (eq $host "0.0.0.0") (eq $host "::") }}127.0.0.1{{ else }}{{ $host }}{{ end -}}
{{- end }}
{{- define "vxseal.check" -}}
{{- $_ := required "config.identity.trustDomain must be given: the SPIFFE trust domain of the cluster" .Values.config.identity.trustDomain -}}
{{- if not .Values.config.overlay.protectedPrefixes }}{{ fail "config.overlay.protectedPrefixes must be given: the whole pod ranges of the cluster" }}{{ end -}}
{{- if and (eq .Values.config.bus.type "kafka") (not .Values.config.kafka.brokers) }}{{ fail "config.kafka.brokers must be given for the bus kafka; or set config.bus.type to directory" }}{{ end -}}
{{- if and (or .Values.serviceMonitor.enabled .Values.networkPolicy.enabled) (regexMatch "^(127\\.|\\[::1\\]|$)" .Values.config.http.listen) }}{{ fail "config.http.listen is loopback, where Prometheus cannot ask: set it to 0.0.0.0:9477, and see networkPolicy" }}{{ end -}}
{{- end }}
