{{- define "runstream.name" -}}
{{- if contains "runstream" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-runstream" (.Release.Name | trunc 40 | trimSuffix "-") }}{{ end }}
{{- end }}

{{/* Which pods are those of a role: never changes, or an upgrade cannot. */}}
{{- define "runstream.selector" -}}
app.kubernetes.io/name: runstream
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "runstream.labels" -}}
{{ include "runstream.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* The files of the Secret that a role needs, no others. */}}
{{- define "runstream.secrets" -}}
{{- $kafka := list "kafka_password_file" "kafka_ca_file" "kafka_cert_file" "kafka_key_file" }}
{{- $stored := list "database_file" "database_ca_file" "store_key_file" "store_secret_file" }}
{{- $needs := dict
      "server" (concat (list "token_file" "alert_receivers_file") $stored)
      "consumer" (concat $kafka $stored)
      "compactor" $stored
      "agent" (concat (list "token_file") $kafka) }}
{{- $of := dict }}
{{- range $setting, $key := .root.Values.secret.keys }}
{{- if has $setting (get $needs $.role) }}{{ $_ := set $of $setting $key }}{{ end }}
{{- end }}
{{- toJson $of }}
{{- end }}

{{/* RUNSTREAM_ variables: of all roles, of this one, and what the chart itself decides. */}}
{{- define "runstream.environment" -}}
{{- $values := get .root.Values .role }}
{{- $settings := merge (dict) .own $values.settings .root.Values.settings }}
{{- range $setting, $key := include "runstream.secrets" . | fromJson }}
{{- $_ := set $settings $setting (printf "/run/secrets/runstream/%s" $key) }}
{{- end }}
{{- range $name, $value := $settings }}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ $value = int64 $value }}{{ end }}
- name: RUNSTREAM_{{ upper $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The pod of a role, with what its `pod` says laid over it. */}}
{{- define "runstream.template" -}}
{{- $made := include "runstream.pod" . | fromYaml }}
{{- $_ := set $made "spec" (mergeOverwrite $made.spec (get .root.Values .role).pod) }}
{{- toYaml $made }}
{{- end }}

{{/* `own`: settings the chart decides; `port`: of HTTP, for the server; `home`: the node's, for the agent. */}}
{{- define "runstream.pod" -}}
{{- $values := get .root.Values .role }}
{{- $image := .root.Values.image }}
{{- $reference := printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) }}
{{- if $image.digest }}{{ $reference = printf "%s@%s" $image.repository $image.digest }}{{ end }}
{{- $shared := and (not .home) (not .root.Values.settings.store) }}
{{- $own := merge (dict "metrics_host" "0.0.0.0" "metrics_port" 9464) .own }}
{{- if $shared }}{{ $_ := set $own "store" "/var/lib/runstream/store" }}{{ end }}
{{- $user := 10001 }}
{{- if .home }}{{ $user = int64 $values.user }}{{ end }}
metadata:
  labels:
    {{- include "runstream.labels" . | nindent 4 }}
spec:
  {{- with .root.Values.serviceAccount }}
  serviceAccountName: {{ . }}
  {{- end }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 30
  {{- with $image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- if .home }}
    runAsUser: {{ $user }}
    runAsGroup: {{ $user }}
    {{- else }}
    runAsNonRoot: true
    runAsUser: {{ $user }}
    runAsGroup: {{ $user }}
    {{- end }}
    fsGroup: {{ $user }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- if .home }}
  {{- if $values.hostPID }}
  hostPID: true
  {{- end }}
  initContainers:
    - name: directory
      image: {{ $reference | quote }}
      imagePullPolicy: {{ $image.pullPolicy }}
      command: [install, -d, -m, "0700", -o, {{ $user | quote }}, -g, {{ $user | quote }}, /var/lib/runstream]
      securityContext:
        runAsUser: 0
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL], add: [CHOWN, FOWNER, DAC_OVERRIDE]}
      volumeMounts:
        - {name: home, mountPath: /var/lib/runstream}
  {{- else }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "runstream.selector" . | nindent 10 }}
  {{- end }}
  containers:
    - name: runstream
      image: {{ $reference | quote }}
      imagePullPolicy: {{ $image.pullPolicy }}
      args: [{{ .role }}]
      env:
        {{- include "runstream.environment" (merge (dict "own" $own) .) | nindent 8 }}
      ports:
        {{- if .port }}
        - {name: http, containerPort: {{ .port }}}
        {{- end }}
        - {name: metrics, containerPort: 9464}
      {{- if .port }}
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 2
        failureThreshold: 90
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 4
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 20
        timeoutSeconds: 10
        failureThreshold: 6
      {{- else }}
      livenessProbe:
        httpGet: {path: /metrics, port: metrics}
        initialDelaySeconds: 30
        periodSeconds: 20
        timeoutSeconds: 10
        failureThreshold: 6
      {{- end }}
      {{- with $values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: secret, mountPath: /run/secrets/runstream, readOnly: true}
        - {name: scratch, mountPath: /tmp}
        {{- if .home }}
        - {name: home, mountPath: /var/lib/runstream}
        {{- else if $shared }}
        - {name: store, mountPath: /var/lib/runstream/store}
        {{- end }}
  volumes:
    - name: secret
      secret:
        secretName: {{ .root.Values.secret.name }}
        defaultMode: 0440
        items:
          {{- range $key := include "runstream.secrets" . | fromJson | values | sortAlpha | uniq }}
          - {key: {{ $key | quote }}, path: {{ $key | quote }}}
          {{- end }}
    - name: scratch
      emptyDir: {}
    {{- if .home }}
    - name: home
      hostPath: {path: {{ .home | quote }}, type: DirectoryOrCreate}
    {{- else if $shared }}
    - name: store
      persistentVolumeClaim:
        claimName: {{ .root.Values.volume.claim | default (printf "%s-store" (include "runstream.name" .root)) }}
    {{- end }}
{{- end }}
