// Projects and API keys are offered of the tenant that the form names.
"use strict";
django.jQuery.ajaxPrefilter((options) => {
    const query = options.data || "";
    const tenant = document.getElementById("id_tenant");
    if (tenant && tenant.value && options.url.includes("/autocomplete/") && !query.includes("field_name=tenant")) {
        options.data = `${query}&tenant=${encodeURIComponent(tenant.value)}`;
    }
});
