{{/*
What the pods of servers and gateway have in common. Their argument is always
  dict "root" $ "component" "server" or "gateway" "values" the component's values
*/}}

{{/* The file of --config; there is none where it says nothing. */}}
{{- define "tidalserve.config" -}}
{{- $ranks := int .values.tensorParallelSize }}
{{- $own := gt $ranks 1 | ternary (dict "tensor_parallel_size" $ranks) dict }}
{{- merge $own .values.config | toYaml }}
{{- end }}

{{/* A Deployment's rolling update. */}}
{{- define "tidalserve.strategy" -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: {{ .values.strategy.maxSurge }}
  maxUnavailable: {{ .values.strategy.maxUnavailable }}
{{- end }}

{{- define "tidalserve.podMetadata" -}}
labels:
  # Not the chart's version: a new chart with the same pods restarts nothing.
  {{- include "tidalserve.selector" . | nindent 2 }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if eq .component "server" }}
  # By these, routers of the Gateway API know that our metrics have vLLM's names.
  inference.networking.k8s.io/engine-type: vllm
  llm-d.ai/engine-type: vllm
  {{- end }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # A changed file of flags needs new pods. Secrets are reloaded by the programs themselves.
  checksum/config: {{ include "tidalserve.config" . | sha256sum }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The pod's fields but for its containers and volumes. */}}
{{- define "tidalserve.podFields" -}}
serviceAccountName: {{ include "tidalserve.serviceAccount" .root }}
automountServiceAccountToken: false
# Variables like TIDALSERVE_PORT that Kubernetes makes of Services are none of ours.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "tidalserve.gracePeriod" .values.shutdown }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "tidalserve.selector" $ | fromYaml)) }}
topologySpreadConstraints:
  {{- range . }}
  {{- list (merge (dict) . $own) | toYaml | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "tidalserve.container" -}}
image: {{ include "tidalserve.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: {{ ne (toString .values.readOnlyRootFilesystem) "false" }}
  capabilities: {drop: [ALL]}
lifecycle:
  # The pod leaves the endpoints while this sleeps; SIGTERM, which drains, comes after.
  preStop:
    sleep: {seconds: {{ .values.shutdown.preStopSeconds }}}
{{- end }}

{{/* Flags that both programs know. */}}
{{- define "tidalserve.commonArgs" -}}
- --host=0.0.0.0
- --http_port={{ .values.ports.http }}
{{- with .values.ports.health }}
- --health_port={{ . }}
{{- end }}
- --shutdown_timeout={{ .values.shutdown.timeoutSeconds }}s
{{- if include "tidalserve.config" . | fromYaml }}
- --config=/etc/tidalserve/config/flags.yaml
{{- end }}
{{- if .root.Values.apiKeys.existingSecret }}
- --api_key_file=/etc/tidalserve/keys/{{ .root.Values.apiKeys.secretKey }}
{{- end }}
{{- if .root.Values.tls.enabled }}
- --tls_cert_file=/etc/tidalserve/tls/tls.crt
- --tls_key_file=/etc/tidalserve/tls/tls.key
{{- if .root.Values.tls.clientCertificates }}
- --tls_client_ca_file={{ include "tidalserve.caFile" .root }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tidalserve.caFile" -}}
/etc/tidalserve/{{ empty .Values.tls.caSecretName | ternary "tls" "ca" }}/ca.crt
{{- end }}

{{/* Volumes whose files commonArgs names, and where they are mounted. */}}
{{- define "tidalserve.commonMounts" -}}
{{- if include "tidalserve.config" . | fromYaml }}
- {name: config, mountPath: /etc/tidalserve/config, readOnly: true}
{{- end }}
{{- if .root.Values.apiKeys.existingSecret }}
- {name: keys, mountPath: /etc/tidalserve/keys, readOnly: true}
{{- end }}
{{- if .root.Values.tls.enabled }}
- {name: tls, mountPath: /etc/tidalserve/tls, readOnly: true}
{{- if .root.Values.tls.caSecretName }}
- {name: ca, mountPath: /etc/tidalserve/ca, readOnly: true}
{{- end }}
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tidalserve.commonVolumes" -}}
{{- if include "tidalserve.config" . | fromYaml }}
- name: config
  configMap: {name: {{ include "tidalserve.fullname" .root }}-{{ .component }}}
{{- end }}
{{- if .root.Values.apiKeys.existingSecret }}
- name: keys
  secret: {secretName: {{ .root.Values.apiKeys.existingSecret }}, defaultMode: 0440}
{{- end }}
{{- if .root.Values.tls.enabled }}
- name: tls
  secret: {secretName: {{ .root.Values.tls.secretName }}, defaultMode: 0440}
{{- with .root.Values.tls.caSecretName }}
- name: ca
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
