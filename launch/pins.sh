# Every third-party package of the project: what launch/setup.sh installs, and nothing else does. Sourced by it.
# shellcheck shell=bash disable=SC2034

# Debian packages, at the version of the distribution (tried on Debian 12).
debian_build=(ca-certificates ccache cmake g++ mold ninja-build pkg-config python3 unzip)
debian_libraries=(
  libboost-program-options-dev
  libavcodec-dev libavformat-dev libavutil-dev libswscale-dev
  libhdf5-dev
  libicu-dev
  libopenmpi-dev openmpi-bin
  libsentencepiece-dev
  libxxhash-dev
  nlohmann-json3-dev
)
debian_tests=(libgmock-dev libgtest-dev)
debian_lint=(clang-format-14)
debian_fuzz=(clang-19 libclang-rt-19-dev)

# Wheels of PyPI, which serve as archives of headers and libraries; no Python code of theirs runs. One a line:
# requirement, size of the download in bytes, sha256, and what is unpacked into .deps/ (unzip patterns).
# The NVIDIA versions are those that torch 2.11.0 asks for.
wheels_cpu='
torch==2.11.0                530604548 7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a torch/include/* torch/lib/*
nvidia-cuda-runtime==13.0.96   2243632 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 nvidia/*
nvidia-cuda-cupti==13.0.85    10715597 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8 nvidia/*
'
# What libtorch_cuda loads, and headers for what we call ourselves.
wheels_cuda='
nvidia-cublas==13.1.0.3         423133236 ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171 nvidia/*
nvidia-cudnn-cu13==9.19.0.56    366066321 d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf nvidia/*
nvidia-cufft==12.0.0.61         214085489 6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3 nvidia/*
nvidia-cufile==1.15.1.6           1223672 08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44 nvidia/*
nvidia-curand==10.4.0.35         59544258 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc nvidia/*
nvidia-cusolver==12.0.4.66      200941980 0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112 nvidia/*
nvidia-cusparse==12.6.3.3       145942937 2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b nvidia/*
nvidia-cusparselt-cu13==0.8.0   169884119 25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd nvidia/*
nvidia-nccl-cu13==2.28.9        196493177 e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42 nvidia/*
nvidia-nvjitlink==13.0.88        40713933 13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b nvidia/*
nvidia-nvshmem-cu13==3.4.5       60412546 290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80 nvidia/*
nvidia-cuda-nvrtc==13.0.88       90215200 ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575 nvidia/*
nvidia-cuda-crt==13.0.88            134086 2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4 nvidia/*
nvidia-nvtx==13.0.85               148047 4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4 nvidia/*
nvidia-cudnn-frontend==1.32.0    11620354 c6006556017a4d1c914c52a556c71b1267f2d6a0500f742e7b4edef539878df0 include/*
'
# The CUDA compiler, for machines without a CUDA 13 toolkit.
wheels_nvcc='
nvidia-cuda-nvcc==13.0.88  37384532 56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03 nvidia/*
nvidia-nvvm==13.0.88       61601415 c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0 nvidia/*
nvidia-cuda-cccl==13.0.85   3120526 e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649 nvidia/*
'
