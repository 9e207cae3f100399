{{/* Names, labels and addresses that more than one template uses. */}}

{{- define "tidalserve.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The release's own prefix of every object's name; short enough for the longest ending. */}}
{{- define "tidalserve.fullname" -}}
{{- $name := include "tidalserve.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tidalserve.server" -}}{{ include "tidalserve.fullname" . }}-server{{- end }}
{{- define "tidalserve.gateway" -}}{{ include "tidalserve.fullname" . }}-gateway{{- end }}
{{- define "tidalserve.headless" -}}{{ include "tidalserve.server" . }}-headless{{- end }}

{{- define "tidalserve.claim" -}}
{{- if .Values.model.claim.create }}{{ include "tidalserve.fullname" . }}-models
{{- else }}{{ .Values.model.claim.existing }}{{ end }}
{{- end }}

{{- define "tidalserve.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tidalserve.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Argument: dict "root" $ "component" NAME. The gateway needs no CUDA, whatever the servers do. */}}
{{- define "tidalserve.image" -}}
{{- $image := .root.Values.image }}
{{- $variant := eq .component "gateway" | ternary "cpu" $image.variant }}
{{- printf "%s:%s-%s" $image.repository (default .root.Chart.AppVersion $image.tag) $variant }}
{{- end }}

{{/* Labels that never change, as selectors need. Argument: dict "root" $ "component" NAME. */}}
{{- define "tidalserve.selector" -}}
app.kubernetes.io/name: {{ include "tidalserve.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "tidalserve.labels" -}}
{{ include "tidalserve.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tidalserve
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Folder of the model in the container. */}}
{{- define "tidalserve.modelPath" -}}
{{- if .Values.model.path }}{{ .Values.model.path }}
{{- else if include "tidalserve.claim" . }}{{ printf "/mnt/models/%s" .Values.model.claim.subPath | trimSuffix "/" }}
{{- else }}/tidalserve/models/tidal-nano
{{- end }}
{{- end }}

{{/* Where Prometheus and probes ask: the name of a port. Argument: the component's ports. */}}
{{- define "tidalserve.healthPort" -}}
{{- if .health }}health{{ else }}http{{ end }}
{{- end }}

{{/* HTTP or HTTPS on that port. Argument: dict "root" $ "ports" PORTS. */}}
{{- define "tidalserve.healthScheme" -}}
{{- if and .root.Values.tls.enabled (not .ports.health) }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{- define "tidalserve.gracePeriod" -}}
{{- .gracePeriodSeconds | default (add .preStopSeconds .timeoutSeconds 15) }}
{{- end }}
